//! Finding the price of a model that stands in the table under another name.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Price;
use crate::request::MODEL_LEN_MAX;

type Models = HashMap<Cow<'static, str>, Price>;

/// Regions and deployment kinds that providers put before a model's name.
const REGIONS: [&str; 12] =
    ["us", "eu", "apac", "jp", "au", "ca", "sa", "me", "us-gov", "global", "global-standard", "data-zone"];

/// Retired models whose price stands in another provider's table, by the start of their name.
const ALIASES: [(&str, &str, &str); 6] = [
    ("claude-3-opus", "bedrock", "anthropic.claude-3-opus-20240229-v1:0"),
    ("claude-3.5-sonnet", "bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("claude-3-5-sonnet", "bedrock", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
    ("claude-3.5-haiku", "bedrock", "anthropic.claude-3-5-haiku-20241022-v1:0"),
    ("claude-3-5-haiku", "bedrock", "anthropic.claude-3-5-haiku-20241022-v1:0"),
    ("claude-3-haiku", "bedrock", "anthropic.claude-3-haiku-20240307-v1:0"),
];

/// The provider and row that hold the price of a retired model.
pub(super) fn alias(model: &str) -> Option<(&'static str, &'static str)> {
    ALIASES
        .iter()
        .find(|(name, _, _)| {
            model.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
        .map(|(_, provider, row)| (*provider, *row))
}

/// The price of the same model under another name. A price of nothing counts for a model's own name alone.
pub(super) fn similar(models: &Models, model: &str) -> Option<Price> {
    if model.len() > MODEL_LEN_MAX {
        return None;
    }
    let local = strip_region(model);
    let own = strip_vendor(local);
    [model, local, own].into_iter().find_map(|name| {
        exact(models, name)
            .or_else(|| exact(models, strip_date(name)))
            .or_else(|| longest_prefix(models, name))
    })
}

fn exact(models: &Models, name: &str) -> Option<Price> {
    models.get(name).copied().filter(|price| !price.is_free())
}

/// Without a trailing `-YYYY-MM-DD` or `-YYYYMMDD`.
fn strip_date(model: &str) -> &str {
    let is_date = |tail: &str| {
        let digits = tail.bytes().filter(u8::is_ascii_digit).count();
        let dashes: Vec<_> = tail.match_indices('-').map(|(at, _)| at).collect();
        digits == 8 && (dashes == [0] && tail.len() == 9 || dashes == [0, 5, 8] && tail.len() == 11)
    };
    [11, 9]
        .into_iter()
        .find_map(|len| {
            model.split_at_checked(model.len().checked_sub(len)?).filter(|(_, tail)| is_date(tail))
        })
        .map_or(model, |(name, _)| name)
}

/// Without a leading `us.`, `eu/` and the like.
fn strip_region(model: &str) -> &str {
    model
        .split_once(['.', '/'])
        .filter(|(region, _)| REGIONS.contains(region))
        .map_or(model, |(_, name)| name)
}

/// Without leading path parts: `models/x`, `openai/x`.
fn strip_vendor(model: &str) -> &str {
    model.rsplit_once('/').map_or(model, |(_, name)| name)
}

/// The longest known name that the model begins with, up to a point where names are joined, so that
/// `gpt-4` says nothing about `gpt-45` or `gpt-4.5`.
fn longest_prefix(models: &Models, model: &str) -> Option<Price> {
    model
        .match_indices(['-', ':', '@', '/'])
        .rev()
        .filter_map(|(at, _)| model.get(..at))
        .find_map(|start| exact(models, start))
}
