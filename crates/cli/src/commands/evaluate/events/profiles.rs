//! What is declared about keys.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use tokenwatch_detect::KeyProfile;
use tokenwatch_evaluate::record::{TIME, key_id, owner_id, shown_key, text_time};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::Workload;

use super::files::read_table;

/// What was declared, and each key as the file names it.
#[derive(Default)]
pub(in super::super) struct Profiles {
    pub(in super::super) by_key: HashMap<KeyId, KeyProfile>,
    pub(in super::super) names: Vec<(KeyId, String)>,
}

/// Reads a file of `key`, `workload`, `created` and `owner`: keys of one owner are asked about each other's newcomers.
pub(in super::super) fn read(path: &Path, default: &KeyProfile) -> anyhow::Result<Profiles> {
    let mut profiles = Profiles::default();
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
        let id = key_id(key);
        if profiles.by_key.insert(id, profile).is_none() {
            profiles.names.push((id, shown_key(key)));
        }
        Ok(())
    })?;
    Ok(profiles)
}
