//! Reasons in what somebody does: how it behaves and what it asks for.

use super::reasons::Reasons;
use crate::behaviour::Factors;
use crate::content;
use crate::engine::Weight;
use crate::slot::{Slot, fact};

/// Says what somebody does; `nats` is what all of that counts for in the end.
pub(super) fn say(reasons: &mut Reasons, slot: &Slot, weight: &Weight, nats: f64) {
    let (factors, content) = (weight.factors.weighed(false), weight.content.weighed(false));
    say_prompts(reasons, slot, &factors);
    say_manners(reasons, slot, &factors);
    say_content(reasons, &content);
    let bounded = weight.factors.total(false) + weight.content.total(false);
    let cut = bounded - (factors.sum() + content.topic + content.phrases);
    reasons.say(cut, || {
        let whom = if cut < 0.0 { "against" } else { "for" };
        format!("what it does counts for no more than so much {whom} it")
    });
    let rest = nats - bounded;
    reasons.say(rest, || {
        if rest < 0.0 {
            "a thief who copies what a key is like would do less of this".to_owned()
        } else if slot.facts & fact::CHECKER != 0 {
            "it tries and fails as key checkers do, whatever else it does".to_owned()
        } else {
            "a thief can copy what a key is like, so to be like it counts for less".to_owned()
        }
    });
}

fn say_prompts(reasons: &mut Reasons, slot: &Slot, factors: &Factors) {
    let acts = &slot.acts;
    reasons.say(factors.prompt, || {
        let (own, prompts) = acts.own_prompts();
        if factors.prompt > 0.0 {
            format!("{own} different prompts in {prompts} requests, none of them this key's")
        } else {
            "its prompts repeat, or are this key's own".to_owned()
        }
    });
    reasons.say(factors.repeat, || {
        if factors.repeat > 0.0 {
            return "hardly ever asks the same twice".to_owned();
        }
        let (asks, asked) = acts.asks();
        format!("asks the same again and again ({asks} different last messages in {asked} requests)")
    });
    reasons.say(factors.model, || {
        if factors.model > 0.0 {
            format!("keeps calling models this key never used ({} so far)", acts.unknown_models())
        } else {
            "calls models this key uses".to_owned()
        }
    });
}

fn say_manners(reasons: &mut Reasons, slot: &Slot, factors: &Factors) {
    let acts = &slot.acts;
    reasons.say(factors.error, || {
        if factors.error > 0.0 {
            format!("{} of {} requests failed", acts.errors, slot.requests)
        } else {
            "its requests succeed".to_owned()
        }
    });
    reasons.say(factors.recon, || {
        format!("probes like a key checker ({} kinds of probing)", acts.recon_kinds())
    });
    reasons.say(factors.volume, || {
        format!("{} requests in an hour, far over this key's busiest", acts.peak_requests)
    });
    reasons.say(factors.at_once, || "many requests in flight at once".to_owned());
    reasons.say(factors.size, || {
        let unlike = if factors.size > 0.0 { "unlike" } else { "like" };
        format!("its token counts are {unlike} this key's")
    });
    reasons.say(factors.price, || {
        if factors.price > 0.0 {
            "it pays far more for a token than this key does".to_owned()
        } else {
            "it pays for a token what this key does".to_owned()
        }
    });
    reasons.say(factors.hours, || {
        let when = if factors.hours > 0.0 { "rarely or never" } else { "usually" };
        format!("it is active at hours when this key {when} is")
    });
}

/// What its prompts are about and after.
fn say_content(reasons: &mut Reasons, content: &content::Factors) {
    reasons.say(content.phrases, || {
        let (matched, asked) = content.matched;
        format!("{} ({matched} of {asked} requests)", content.asks())
    });
    reasons.say(content.topic, || {
        let (far, of) = content.far;
        if content.topic > 0.0 {
            format!("its prompts are about something else than this key's ({far} of {of})")
        } else {
            "its prompts are about what this key's are".to_owned()
        }
    });
}
