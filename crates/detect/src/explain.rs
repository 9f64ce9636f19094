//! Findings in words: one sentence for a tired person, reasons with numbers, strongest first.

mod acts;
mod arrival;
mod reasons;

use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::{Actor, Finding, Reason, Severity, Tier, describe_origin};
use tokenwatch_model::id::{ActorId, KeyId};

use crate::crowd::Crowd;
use crate::engine::{Appraisal, Rates};
use crate::inside::Weighed;
use crate::known::{Novelty, dimension};
use crate::math::{hash, join, ln};
use crate::surge::Surge;

/// A number of days as people read it.
pub(crate) fn days(days: f64) -> String {
    match days {
        d if !d.is_finite() => "never".to_owned(),
        d if d >= 1_000_000.0 => "over a million days".to_owned(),
        d if d >= 1.0 => plural(&thousands(d.round() as u64), d.round() as u64 == 1),
        d if d * 24.0 >= 1.0 => format!("{:.0} h", d * 24.0),
        _ => "less than an hour".to_owned(),
    }
}

fn plural(number: &str, one: bool) -> String {
    format!("{number} day{}", if one { "" } else { "s" })
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn severity(tier: Tier) -> Severity {
    match tier {
        Tier::Notice => Severity::Medium,
        Tier::Alert => Severity::High,
        Tier::Act => Severity::Critical,
    }
}

/// A finding about one newcomer.
pub(crate) fn newcomer(
    rule: &'static str,
    appraisal: &Appraisal,
    tier: Tier,
    score: f64,
    request: &RequestContext,
    rates: &Rates<'_>,
) -> Finding {
    let Appraisal { slot, novelty, .. } = appraisal;
    let summary = format!(
        "Unknown caller from {}: {} request{} so far, {} forwarded, {}. New to this key: {}. An honest key \
         shows this once in {}.",
        describe_origin(request),
        slot.requests,
        if slot.requests == 1 { "" } else { "s" },
        slot.forwarded,
        slot.cost,
        what_is_new(*novelty),
        days(score)
    );
    Finding {
        rule: rule.into(),
        key: request.key,
        time: request.time,
        severity: severity(tier),
        tier,
        once_in_days: score,
        summary,
        reasons: reasons::all(appraisal, score, rates),
        actor: Some(slot.actor(*novelty)),
        events: slot.recent.clone(),
    }
}

fn what_is_new(novelty: Novelty) -> String {
    const WORDS: [(usize, &str); 10] = [
        (dimension::COUNTRY, "country"),
        (dimension::KIND, "kind of network"),
        (dimension::NETWORK, "network"),
        (dimension::PREFIX, "address block"),
        (dimension::FAMILY, "client"),
        (dimension::TLS, "TLS print"),
        (dimension::VERSION, "client version"),
        (dimension::MODEL, "model"),
        (dimension::ENDPOINT, "endpoint"),
        (dimension::TEMPLATE, "prompt"),
    ];
    let mut words: Vec<&str> = Vec::new();
    for (of, word) in WORDS {
        // A new network implies a new block.
        if novelty.has(of) && !(of == dimension::PREFIX && novelty.has(dimension::NETWORK)) {
            words.push(word);
        }
    }
    words.join(", ")
}

/// A finding about a crowd.
pub(crate) fn crowd(
    crowd: &Crowd,
    appraisal: &Appraisal,
    tier: Tier,
    score: f64,
    request: &RequestContext,
) -> Finding {
    let latest = appraisal.slot.identity.context(appraisal.novelty, appraisal.slot.roams);
    let shared = crowd.shared.describe();
    let summary = format!(
        "{} unknown callers from {} networks, {shared}: {} requests, {} forwarded, {}. The latest came from {}. \
         On an honest key such a crowd appears once in {}.",
        crowd.members,
        crowd.networks(),
        crowd.requests,
        crowd.forwarded,
        crowd.cost,
        describe_origin(request),
        days(score)
    );
    let what =
        format!("{} newcomers from {} networks within days, {shared}", crowd.members, crowd.networks());
    Finding {
        rule: "newcomer_crowd".into(),
        key: request.key,
        time: request.time,
        severity: severity(tier),
        tier,
        once_in_days: score,
        summary,
        reasons: vec![Reason { nats: ln(score), what }],
        actor: Some(crowd.actor(request.key, latest)),
        events: appraisal.slot.recent.clone(),
    }
}

/// A finding about an hour of the whole key.
pub(crate) fn surge(surge: &Surge, tier: Tier, score: f64, request: &RequestContext) -> Finding {
    let Surge { requests, cost, busiest, dearest, .. } = surge;
    let what = format!(
        "{requests} requests for {cost} in this hour; the busiest hour before had {busiest}, the dearest cost {dearest}"
    );
    Finding {
        rule: "key_surge".into(),
        key: request.key,
        time: request.time,
        severity: severity(tier),
        tier,
        once_in_days: score,
        summary: format!("{what}. An honest key does that once in {}.", days(score)),
        reasons: vec![Reason { nats: ln(score), what }],
        actor: None,
        events: vec![request.id],
    }
}

/// A finding about what the key's own callers do that the key never did.
pub(crate) fn unfamiliar_burst(
    weighed: &Weighed,
    tier: Tier,
    context: &ContextMatch,
    request: &RequestContext,
) -> Finding {
    let Weighed { requests, cost, busiest, by_model, prompts, many, by_prompts, days: score } = weighed;
    let new = if *by_model {
        format!("a model it never used ({})", request.model)
    } else if *by_prompts {
        format!("about {prompts} different prompts, none of which it ever had")
    } else {
        "prompts it never had".to_owned()
    };
    let what = format!(
        "{requests} requests for {cost} in this hour with {new}, by callers that the key knows; its busiest hour before had \
         {busiest} in all"
    );
    let mut reasons = vec![Reason { nats: ln(score / many), what: what.clone() }];
    if *many > 1.0 {
        reasons.push(Reason {
            nats: ln(*many),
            what: format!("about {prompts} different prompts, all new to it"),
        });
    }
    let actor = (!context.is_empty()).then(|| Actor {
        id: inside_id(request.key, context),
        context: context.clone(),
        first_seen: request.time,
        requests: u64::from(*requests),
        requests_forwarded: u64::from(*requests),
        cost: *cost,
    });
    Finding {
        rule: "unfamiliar_burst".into(),
        key: request.key,
        time: request.time,
        severity: severity(tier),
        tier,
        once_in_days: *score,
        summary: format!("{what}. An honest key does that once in {}.", days(*score)),
        reasons,
        actor,
        events: vec![request.id],
    }
}

/// A request with the model or prompt of an unfamiliar burst that was told of.
pub(crate) fn unfamiliar(request: &RequestContext, context: &ContextMatch, once_in_days: f64) -> Finding {
    let what = "its model or prompt is that of a burst that was told of";
    let summary = format!("A caller from {}: {what}.", describe_origin(request));
    let mut finding =
        fact("unfamiliar_burst", Tier::Alert, once_in_days, request, context.clone(), summary, what);
    if let Some(actor) = &mut finding.actor {
        actor.id = inside_id(request.key, context);
    }
    finding
}

/// Who is inside is known by what he asks for alone.
pub(crate) fn inside_id(key: KeyId, context: &ContextMatch) -> ActorId {
    let asks = join(context.model.as_ref().map_or(0, |model| hash(model)), context.template.unwrap_or(0));
    ActorId::from_bits(join(key.bits(), join(hash("inside"), asks)))
}

/// A planted key was used: certain.
pub(crate) fn canary(request: &RequestContext) -> Finding {
    let context = ContextMatch { prefix: Some(request.source.prefix()), ..ContextMatch::default() };
    fact(
        "canary_key_used",
        Tier::Act,
        f64::MAX,
        request,
        context,
        format!("A canary key, which nobody may use, was used from {}.", describe_origin(request)),
        "a planted key has no honest use",
    )
}

/// A request from a context that a person called a theft.
pub(crate) fn stolen(request: &RequestContext, once_in_days: f64) -> Finding {
    let context = ContextMatch { prefix: Some(request.source.prefix()), ..ContextMatch::default() };
    fact(
        "newcomer",
        Tier::Alert,
        once_in_days,
        request,
        context,
        format!("A caller from {} is in a context that was confirmed as a theft.", describe_origin(request)),
        "its context was confirmed as a theft",
    )
}

fn fact(
    rule: &'static str,
    tier: Tier,
    once_in_days: f64,
    request: &RequestContext,
    context: ContextMatch,
    summary: String,
    what: &str,
) -> Finding {
    let actor = Actor {
        id: crate::features::actor_of(request),
        context,
        first_seen: request.time,
        requests: 1,
        requests_forwarded: 0,
        cost: tokenwatch_model::money::NanoUsd::ZERO,
    };
    Finding {
        rule: rule.into(),
        key: request.key,
        time: request.time,
        severity: severity(tier),
        tier,
        once_in_days,
        summary,
        reasons: vec![Reason { nats: ln(once_in_days), what: what.to_owned() }],
        actor: Some(actor),
        events: vec![request.id],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_readable() {
        for (number, want) in [
            (f64::INFINITY, "never"),
            (2_345_678.0, "over a million days"),
            (12_345.6, "12,346 days"),
            (1.2, "1 day"),
            (0.5, "12 h"),
            (0.0, "less than an hour"),
        ] {
            assert_eq!(days(number), want);
        }
    }
}
