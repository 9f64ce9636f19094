//! Findings in words: one sentence for a tired person, reasons with numbers, strongest first.

use tokenwatch_model::containment::ContextMatch;
use tokenwatch_model::context::RequestContext;
use tokenwatch_model::finding::{Actor, Finding, Reason, Severity, Tier, describe_origin};
use tokenwatch_model::id::{ActorId, KeyId};

use crate::content::Factors;
use crate::crowd::Crowd;
use crate::engine::{Appraisal, Rates, Weight};
use crate::inside::Weighed;
use crate::known::{Novelty, dimension};
use crate::math::{hash, join, ln};
use crate::priors::Levels;
use crate::siblings;
use crate::slot::Slot;
use crate::software;
use crate::surge::Surge;

/// Reasons weaker than this, in nats, are not worth a line.
const WORTH_SAYING: f64 = 0.15;

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
    let Appraisal { slot, novelty, weight, .. } = appraisal;
    let mut reasons = arrival_reasons(slot, *novelty, rates);
    reasons.extend(behaviour_reasons(slot, *novelty, weight));
    reasons.extend(content_reasons(&weight.content));
    reasons.sort_by(|a, b| b.nats.total_cmp(&a.nats));
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
        reasons,
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

/// Where somebody came from, for a reason.
fn place(slot: &Slot) -> String {
    let features = &slot.identity.features;
    if features.asn == 0 {
        slot.identity.prefix.to_string()
    } else {
        format!("AS{} ({}, {})", features.asn, features.country, features.kind)
    }
}

/// One reason per new dimension: what the evidence would lose if that dimension were known.
fn arrival_reasons(slot: &Slot, novelty: Novelty, rates: &Rates<'_>) -> Vec<Reason> {
    let levels = novelty.levels;
    let any = Levels {
        source: 0b11_1111,
        client: Levels::ANY_CLIENT,
        usage: Levels::ANY_USAGE,
        template: Levels::ANY_TEMPLATE,
    };
    let evidence = rates.evidence(levels);
    let without = |known: Levels| {
        // An arrival with nothing new is no arrival: evidence then grows by a day a day.
        let nothing = known.source & 1 & known.client & known.usage & known.template == 1;
        ln(evidence / if nothing { 1.0 } else { rates.evidence(known) })
    };
    let rate = |only: Levels| days(rates.days(only));
    let mut reasons = Vec::new();
    if levels.source & 1 == 0 {
        let nats = without(Levels { source: 1, ..levels });
        let once = rate(Levels { source: levels.source, ..any });
        let what = format!("first time from {} on this key; on keys like this once per {once}", place(slot));
        reasons.push(Reason { nats, what });
    }
    if levels.client & 1 == 0 {
        let nats = without(Levels { client: 1, ..levels });
        let once = rate(Levels { client: levels.client, ..any });
        let what = format!("{}; on keys like this once per {once}", client_words(slot, novelty));
        reasons.push(Reason { nats, what });
    }
    if levels.usage & 1 == 0 {
        let nats = without(Levels { usage: 1, ..levels });
        let once = rate(Levels { usage: levels.usage, ..any });
        let what = if novelty.has(dimension::ENDPOINT) {
            format!(
                "endpoint {} never called before; on keys like this once per {once}",
                slot.identity.features.endpoint
            )
        } else {
            format!("model {} never used before; on keys like this once per {once}", slot.identity.model)
        };
        reasons.push(Reason { nats, what });
    }
    if levels.template & 1 == 0 {
        let nats = without(Levels { template: 1, ..levels });
        let once = rate(Levels { template: levels.template, ..any });
        let what =
            format!("its prompt is unlike any template of this key; such a prompt comes once per {once}");
        reasons.push(Reason { nats, what });
    }
    reasons
}

fn client_words(slot: &Slot, novelty: Novelty) -> String {
    let identity = &slot.identity;
    if novelty.has(dimension::FAMILY) {
        if identity.family.is_empty() {
            return "no user agent, on a key whose callers have one".to_owned();
        }
        format!("client {} {} never used with this key", identity.family, identity.version)
    } else if novelty.has(dimension::TLS) {
        format!("client {} with a TLS print it never had on this key", identity.family)
    } else {
        format!("version {} of client {} never seen on this key", identity.version, identity.family)
    }
}

fn behaviour_reasons(slot: &Slot, novelty: Novelty, weight: &Weight) -> Vec<Reason> {
    let acts = &slot.acts;
    let factors = &weight.factors;
    let mut reasons = Vec::new();
    // Words are made only for what is said: a thief who hammers must not cost us sentences.
    let mut say = |nats: f64, what: &dyn Fn() -> String| {
        if nats.abs() >= WORTH_SAYING {
            reasons.push(Reason { nats, what: what() });
        }
    };
    say(weight.circulation, &|| {
        "another newcomer was found on this key in the last days, or the key is public".to_owned()
    });
    say(weight.kind, &|| {
        let kind = slot.identity.features.kind;
        if novelty.has(dimension::KIND) {
            format!("comes from a network of kind {kind}, which this key never does")
        } else if weight.kind > 0.0 {
            format!("AS{} is no large cloud, where honest workloads mostly run", slot.identity.features.asn)
        } else {
            format!("AS{} is a large cloud, where honest workloads mostly run", slot.identity.features.asn)
        }
    });
    say(weight.software, &|| software::describe(weight.software).to_owned());
    say(weight.siblings, &|| siblings::describe(slot.identity.siblings, novelty));
    say(ln(weight.faded), &|| "it has been here for a while without more evidence".to_owned());
    say(factors.prompt, &|| {
        let (own, prompts) = acts.own_prompts();
        if factors.prompt > 0.0 {
            format!("{own} different prompts in {prompts} requests, none of them this key's")
        } else {
            "its prompts repeat, or are this key's own".to_owned()
        }
    });
    say(factors.repeat, &|| repeat_words(acts.asks(), factors.repeat));
    say(factors.model, &|| {
        if factors.model > 0.0 {
            format!("keeps calling models this key never used ({} so far)", acts.unknown_models())
        } else {
            "calls models this key uses".to_owned()
        }
    });
    say(factors.error, &|| {
        if factors.error > 0.0 {
            format!("{} of {} requests failed", acts.errors, slot.requests)
        } else {
            "its requests succeed".to_owned()
        }
    });
    say(factors.recon, &|| format!("probes like a key checker ({} kinds of probing)", acts.recon_kinds()));
    say(factors.volume, &|| {
        format!("{} requests in an hour, far over this key's busiest", acts.peak_requests)
    });
    say(factors.at_once, &|| "many requests in flight at once".to_owned());
    say(factors.size, &|| {
        let unlike = if factors.size > 0.0 { "unlike" } else { "like" };
        format!("its token counts are {unlike} this key's")
    });
    say(factors.price, &|| {
        if factors.price > 0.0 {
            "it pays far more for a token than this key does".to_owned()
        } else {
            "it pays for a token what this key does".to_owned()
        }
    });
    say(factors.hours, &|| {
        let when = if factors.hours > 0.0 { "rarely or never" } else { "usually" };
        format!("it is active at hours when this key {when} is")
    });
    reasons
}

fn repeat_words((asks, asked): (u16, u32), nats: f64) -> String {
    if nats > 0.0 {
        return "hardly ever asks the same twice".to_owned();
    }
    format!("asks the same again and again ({asks} different last messages in {asked} requests)")
}

/// What its prompts are about and after.
fn content_reasons(content: &Factors) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if content.phrases >= WORTH_SAYING {
        let (matched, asked) = content.matched;
        let what = format!("{} ({matched} of {asked} requests)", content.asks());
        reasons.push(Reason { nats: content.phrases, what });
    }
    if content.topic.abs() >= WORTH_SAYING {
        let (far, of) = content.far;
        let what = if content.topic > 0.0 {
            format!("its prompts are about something else than this key's ({far} of {of})")
        } else {
            "its prompts are about what this key's are".to_owned()
        };
        reasons.push(Reason { nats: content.topic, what });
    }
    reasons
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
    let Weighed { requests, cost, busiest, by_model, prompts, many, days: score } = weighed;
    let new = if *by_model {
        format!("a model it never used ({})", request.model)
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
