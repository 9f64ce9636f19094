//! `tokenwatch key rotate` and `key retire`: another credential for the same key, and the end of the one before.

use serde_json::json;
use tokenwatch_console::manage::{Issued, Manager};
use tokenwatch_console::rotation::{Caller, OVERLAP_MAX, RotateSpec};
use tokenwatch_model::key::Key;
use tokenwatch_model::time::{Timestamp, human_span};
use tokenwatch_respond::words::{count, grouped};

use super::{or_dash, parse_span_arg, told};
use crate::commands::who;
use crate::{Common, output};

/// `tokenwatch key rotate …`
#[derive(clap::Args)]
pub(crate) struct RotateArgs {
    /// Name or id
    key: String,
    /// How long the credential before goes on, such as 24h or 7d; 0s ends it at once
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = parse_overlap)]
    overlap: u64,
    /// The credential that was issued last never came into use: it ends at once, and the one before goes on
    #[arg(long)]
    again: bool,
    /// Time until the key stops working by itself, such as 90d; without it, that stays as it is
    #[arg(long, value_name = "SPAN", value_parser = parse_span_arg)]
    expires_in: Option<u64>,
    /// Why, for the audit log and whoever looks next
    #[arg(long, default_value = "")]
    reason: String,
}

/// `tokenwatch key retire …`
#[derive(clap::Args)]
pub(crate) struct RetireArgs {
    /// Name or id
    key: String,
    /// When it ends, from now, such as 2h: sooner or later than it would
    #[arg(long, value_name = "SPAN", default_value = "0s", value_parser = parse_overlap)]
    r#in: u64,
    /// Why, for the audit log and whoever looks next
    #[arg(long, default_value = "")]
    reason: String,
}

fn parse_overlap(text: &str) -> Result<u64, String> {
    // A span is something; none at all is said as `0`, with or without a unit.
    if ["0", "0s", "0m", "0h", "0d"].contains(&text) {
        return Ok(0);
    }
    let span = parse_span_arg(text)?;
    if span > OVERLAP_MAX {
        return Err(format!("at most {}", human_span(OVERLAP_MAX)));
    }
    Ok(span)
}

pub(super) fn rotate(common: &Common, manager: &Manager, args: RotateArgs) -> anyhow::Result<()> {
    let now = manager.clock.now();
    let spec = RotateSpec {
        overlap: args.overlap,
        again: args.again,
        expires: args.expires_in.map(|span| now.plus(span)),
        reason: args.reason,
    };
    let Issued { key, secret } = manager.rotate(&args.key, None, &spec, &who())?;
    let ends = key.rotation.map(|rotation| rotation.previous_ends);
    if common.json {
        return output::json_line(&json!({
            "key": secret.expose(),
            "id": key.id,
            "name": key.name,
            "previous_ends": ends.map(|at| at.to_string()),
            "expires": key.expires.map(|at| at.to_string()),
        }));
    }
    output::line(secret.expose());
    output::say(&format!(
        "\n{} ({}) has a new credential. The line above is shown once: store it now.",
        key.name, key.id
    ));
    output::say(&match ends {
        Some(at) if spec.overlap > 0 => format!(
            "The one before works until {at} (in {}). `tokenwatch key show {}` says who still presents it, `tokenwatch key \
             retire {}` ends it.",
            human_span(at.since(now)),
            key.name,
            key.name
        ),
        _ => "Every one before is refused from now on.".to_owned(),
    });
    if let Some(expires) = key.expires.filter(|_| spec.expires.is_none()) {
        output::say(&format!(
            "The key itself still ends at {expires}: `tokenwatch key expire {} --in 90d` renews it.",
            key.name
        ));
    }
    Ok(())
}

pub(super) fn retire(common: &Common, manager: &Manager, args: &RetireArgs) -> anyhow::Result<()> {
    let at = (args.r#in > 0).then(|| manager.clock.now().plus(args.r#in));
    let key = manager.retire(&args.key, None, at, &args.reason, &who())?;
    let what = if args.r#in == 0 {
        "takes its newest credential only".to_owned()
    } else {
        format!("takes the credential before for {} more", human_span(args.r#in))
    };
    told(common, manager, &key, &what)
}

/// `2026-03-01 12:00:00 UTC; the credential before works for 23 h more`.
pub(super) fn describe(key: &Key, now: Timestamp) -> String {
    let Some(rotation) = key.rotation else { return "never".to_owned() };
    let ends = rotation.previous_ends;
    if rotation.overlaps(now) {
        let left = human_span(ends.since(now));
        format!("{}; the credential before works for {left} more, until {ends}", rotation.rotated)
    } else {
        format!("{}; the credential before is refused since {ends}", rotation.rotated)
    }
}

/// Who still presents the credential before, a line each.
pub(super) fn describe_callers(callers: &[Caller], now: Timestamp) -> Vec<String> {
    if callers.is_empty() {
        return vec!["nobody presented the credential before in the last 24 hours".to_owned()];
    }
    callers.iter().map(|caller| describe_caller(caller, now)).collect()
}

fn describe_caller(caller: &Caller, now: Timestamp) -> String {
    let network = &caller.network;
    let from = match network.asn {
        0 => format!("{} network", network.kind),
        asn => format!("AS{asn} ({}, {})", network.country, network.kind),
    };
    let refused = match caller.refused {
        0 => String::new(),
        refused => format!(", {} of them refused", grouped(refused)),
    };
    format!(
        "{from}, client {}: {}{refused}, last {} ago",
        or_dash(&caller.client),
        count(caller.requests, "request"),
        human_span(now.since(caller.last))
    )
}

#[cfg(test)]
mod tests {
    use tokenwatch_console::rotation::OVERLAP;

    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<u64, &str>) {
        assert_eq!(parse_overlap(text).map_err(|_| "refused"), want.map_err(|_| "refused"), "{text}");
    }

    #[test]
    fn overlaps_are_spans_or_nothing() {
        check("0", Ok(0));
        check("0s", Ok(0));
        check("24h", Ok(OVERLAP));
        check("90d", Ok(OVERLAP_MAX));
        check("91d", Err(""));
        check("soon", Err(""));
    }
}
