//! What is declared about keys.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use tokenwatch_detect::KeyProfile;
use tokenwatch_evaluate::record::{TIME, key_id, owner_id, text_time};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Workload;

use super::files::read_table;

/// Reads a file of `key`, `workload`, `created` and `owner`: keys of one owner are asked about each other's newcomers.
pub(super) fn read(path: &Path, default: &KeyProfile) -> anyhow::Result<HashMap<KeyId, KeyProfile>> {
    let mut profiles = HashMap::new();
    read_table(path, &["key", "workload", "created", "owner"], 1, |row| {
        let [key, workload, created, owner] = row else { return Ok(()) };
        let key = key.as_deref().context("field key: missing; write the key as the events name it")?;
        let mut profile = default.clone();
        if let Some(name) = workload {
            profile.workload = Workload::from_name(name).with_context(|| {
                let names: Vec<&str> = Workload::ALL.iter().map(|workload| workload.name()).collect();
                format!("field workload: {name:?} is none; write {}", names.join(", "))
            })?;
        }
        if let Some(text) = created {
            profile.created = text_time(text)
                .with_context(|| format!("field created: {text:?} can not be read; write {TIME}"))?;
        }
        profile.owner = owner.as_deref().filter(|name| !name.is_empty()).map(owner_id).or(profile.owner);
        profiles.insert(key_id(key), profile);
        Ok(())
    })?;
    Ok(profiles)
}
