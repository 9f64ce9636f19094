//! Reasons in who somebody is: what is new about a newcomer, and how rare that is.
//!
//! What is new is taken in a fixed order, each new thing given those before it, so that the parts add up: the first counts
//! for the logarithm of the days between such newcomers, each further one for how few of them it is true of.

use tokenwatch_model::network::NetworkKind;

use super::days;
use super::reasons::Reasons;
use crate::engine::{Appraisal, Rates, house_nats};
use crate::known::{Novelty, dimension};
use crate::math::ln;
use crate::priors::Levels;
use crate::siblings;
use crate::slot::Slot;
use crate::software;
use crate::standing;

/// Says who somebody is; returns what that counts for, in nats.
pub(super) fn say(reasons: &mut Reasons, appraisal: &Appraisal, rates: &Rates<'_>) -> f64 {
    let Appraisal { slot, novelty, weight, .. } = appraisal;
    let alike = say_new(reasons, slot, *novelty, rates);
    let later = slot.acts.later_prompts();
    let asking = rates.days_given(novelty.levels, &later, 1.0);
    let by_prompts = ln(asking) - ln(alike);
    let all = later.known + later.strange;
    reasons.say(by_prompts, || {
        if by_prompts > 0.0 {
            format!("{} of its {all} later prompts are not this key's, as a thief's are", later.strange)
        } else {
            format!("{} of its {all} later prompts are this key's own", later.known)
        }
    });
    // What its rarity has beyond that, but for the siblings' answer, is its volume against one more caller's.
    let by_volume = ln(weight.rarity) - weight.siblings - ln(asking);
    reasons.say(by_volume, || {
        format!("{} requests are more than one more of this key's own callers brings", slot.requests)
    });
    reasons.say(weight.siblings, || siblings::describe(slot.identity.siblings, *novelty));
    // Evidence is the days between such newcomers times the share of thieves who look like one.
    let mass = rates.evidence(novelty.levels) / alike;
    reasons.say(ln(mass), || format!("only {} of thieves look like this at first", share(mass)));
    reasons.say(weight.circulation, || {
        "another newcomer was found on this key in the last days, or the key is public".to_owned()
    });
    let features = &slot.identity.features;
    let house = house_nats(slot, *novelty);
    reasons.say(house, || standing::describe(features));
    reasons.say(weight.kind - house, || kind_words(features.kind, weight.kind - house));
    reasons.say(weight.software, || software::describe(weight.software).to_owned());
    reasons.say(ln(weight.faded), || "it has been here for a while without more evidence".to_owned());
    ln(weight.rarity) + ln(mass) + weight.circulation + weight.kind + weight.software + ln(weight.faded)
}

/// Says what is new; returns once in how many days such a newcomer comes.
fn say_new(reasons: &mut Reasons, slot: &Slot, novelty: Novelty, rates: &Rates<'_>) -> f64 {
    let Levels { source, client, usage, template } = novelty.levels;
    let is_new = |mask: u8| mask & 1 == 0;
    let known = |mask: u8, any: u8| if is_new(mask) { any } else { mask };
    // A newcomer of which nothing that is new is looked at yet.
    let mut seen = Levels {
        source: known(source, 0b11_1111),
        client: known(client, Levels::ANY_CLIENT),
        usage: known(usage, Levels::ANY_USAGE),
        template: known(template, Levels::ANY_TEMPLATE),
    };
    let network = if novelty.has(dimension::NETWORK) { "network" } else { "address block" };
    let asked = if novelty.has(dimension::ENDPOINT) { "endpoint" } else { "model" };
    let order = [(source, network), (client, "client"), (usage, asked), (template, "prompt")];
    let usual: Vec<&str> = order.iter().filter(|(mask, _)| *mask == 1).map(|(_, name)| *name).collect();
    let (mut before, mut alike) = (1.0, Vec::new());
    for (place, (mask, name)) in order.into_iter().enumerate().filter(|(_, (mask, _))| is_new(*mask)) {
        let what = match place {
            0 => {
                seen.source = mask;
                format!("first time from {}", origin(slot, novelty))
            }
            1 => {
                seen.client = mask;
                client_words(slot, novelty)
            }
            2 => {
                seen.usage = mask;
                usage_words(slot, novelty)
            }
            _ => {
                seen.template = mask;
                "its prompt is unlike any template of this key".to_owned()
            }
        };
        let now = rates.days(seen);
        reasons.tell(ln(now) - ln(before), format!("{what}; {}", how_often(before, now, &alike, &usual)));
        before = now;
        alike.push(name);
    }
    before
}

/// How often honest newcomers are so, given what they are like already.
fn how_often(before: f64, now: f64, alike: &[&str], usual: &[&str]) -> String {
    if !alike.is_empty() {
        return format!("true of {} of honest newcomers alike in {}", share(before / now), list(alike));
    }
    let once = if (1.0..9.95).contains(&now) { format!("{now:.1} days") } else { days(now) };
    if usual.is_empty() {
        format!("keys like this see that once per {once}")
    } else {
        format!("with the usual {} keys like this see that once per {once}", list(usual))
    }
}

fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Shares below this are said as one in so many.
const FEW: f64 = 0.1;

fn share(share: f64) -> String {
    if share >= 0.995 {
        "nearly all".to_owned()
    } else if share >= FEW {
        format!("{:.0} %", share * 100.0)
    } else {
        format!("1 in {}", super::thousands((1.0 / share).round() as u64))
    }
}

/// Where somebody came from that is new to the key.
fn origin(slot: &Slot, novelty: Novelty) -> String {
    let features = &slot.identity.features;
    let (prefix, asn, country, kind) = (&slot.identity.prefix, features.asn, features.country, features.kind);
    if asn == 0 {
        format!("{prefix} on this key")
    } else if novelty.has(dimension::NETWORK) {
        format!("AS{asn} ({country}, {kind}) on this key")
    } else if novelty.has(dimension::COUNTRY) {
        format!("{country} by AS{asn} ({kind}), which this key knows from elsewhere")
    } else {
        format!("{prefix} of AS{asn} ({country}, {kind}), which this key knows")
    }
}

fn client_words(slot: &Slot, novelty: Novelty) -> String {
    let identity = &slot.identity;
    if novelty.has(dimension::FAMILY) {
        return match (identity.family.as_str(), identity.version.as_str()) {
            ("", _) => "no user agent, on a key whose callers have one".to_owned(),
            (family, "") => format!("client {family} never used with this key"),
            (family, version) => format!("client {family} {version} never used with this key"),
        };
    }
    if novelty.has(dimension::TLS) {
        format!("client {} with a TLS print it never had on this key", identity.family)
    } else {
        format!("version {} of client {} never seen on this key", identity.version, identity.family)
    }
}

fn usage_words(slot: &Slot, novelty: Novelty) -> String {
    if novelty.has(dimension::ENDPOINT) {
        format!("endpoint {} never called before", slot.identity.features.endpoint)
    } else {
        format!("model {} never used before", slot.identity.model)
    }
}

fn kind_words(kind: NetworkKind, nats: f64) -> String {
    let whose = if nats > 0.0 { "thieves than honest newcomers" } else { "honest newcomers than thieves" };
    format!("comes from a network of kind {kind}, new to this key, as more {whose} do")
}
