//! Thieves of the documented kinds T1 to T7.

use tokenwatch_model::network::NetworkKind;
use tokenwatch_model::provider::Endpoint;
use tokenwatch_model::time::{DAY, HOUR, MINUTE, SECOND, Timestamp};

use crate::world::{Agent, Call, Dice, Owner, Place};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Theft {
    /// T1: four calls in two seconds.
    Validation,
    /// T1 on Bedrock: dozens of malformed calls over many models.
    Enumeration,
    /// T2: a passed-on list, checked again from new networks.
    Recheckers,
    /// T3: check, then as fast as it goes.
    SmashAndGrab,
    /// T4: one address, many clients, all prompts different.
    Resale,
    /// T5: a few agent sessions with huge contexts.
    AgentSessions,
    /// T6: the victim's rate, the dearest model.
    ModelUpgrade,
    /// T7: a little, from home, in the victim's manner.
    QuietSharing,
}

impl Theft {
    /// The kinds that must be refused at once.
    pub(crate) const LOUD: [Self; 6] = [
        Self::Validation,
        Self::Enumeration,
        Self::Recheckers,
        Self::SmashAndGrab,
        Self::Resale,
        Self::AgentSessions,
    ];
    /// The kinds that are careful.
    pub(crate) const QUIET: [Self; 2] = [Self::ModelUpgrade, Self::QuietSharing];
}

const HOSTING: [(u32, &str); 5] =
    [(200_019, "MD"), (9_009, "RO"), (60_068, "SG"), (62_240, "UA"), (36_352, "CA")];

fn hosting(dice: &mut Dice) -> Place {
    let (asn, country) = dice.pick(&HOSTING);
    let kind = if dice.chance(0.4) { NetworkKind::Vpn } else { NetworkKind::Hosting };
    Place { block: 0x60_0000 + dice.below(60_000) as u32, asn, country, kind }
}

fn tool(dice: &mut Dice) -> Agent {
    let (family, version) = dice.pick(&[
        ("aiohttp", "3.9.5"),
        ("axios", "1.7.4"),
        ("python-urllib3", "2.0.7"),
        ("browser", "125.0"),
        ("", ""),
    ]);
    Agent { family, version: version.into(), tls: dice.bits() }
}

/// The calls of a theft from `start` on, in order; at most a few hundred.
pub(crate) fn calls(theft: Theft, victim: &Owner, start: Timestamp, seed: u64) -> Vec<Call> {
    let mut dice = Dice::new(seed ^ 0xdead);
    let (place, agent) = (hosting(&mut dice), tool(&mut dice));
    let base = Call {
        time: start,
        place,
        host: 77,
        agent,
        model: "gpt-5-pro",
        endpoint: Endpoint::ChatCompletions,
        template: dice.bits() | 1,
        input: 2_000,
        output: 400,
        output_max: 400,
        status: 200,
    };
    match theft {
        Theft::Validation => check(&base),
        Theft::Enumeration => enumerate(&base, &mut dice),
        Theft::Recheckers => (0..5)
            .flat_map(|burst| {
                let at = start.plus(burst * (6 * HOUR + dice.below(20 * HOUR)));
                check(&Call { time: at, place: hosting(&mut dice), agent: tool(&mut dice), ..base.clone() })
            })
            .collect(),
        Theft::SmashAndGrab => {
            let mut calls = check(&base);
            calls.extend((0..300u64).map(|i| Call {
                time: start.plus(10 * SECOND + i * SECOND / 5),
                input: 500 + dice.below(7_500),
                template: dice.bits() | 1,
                status: if dice.chance(0.2) { 429 } else { 200 },
                ..base.clone()
            }));
            calls
        }
        Theft::Resale => (0..300u64)
            .map(|i| Call {
                time: start.plus(i * 3_600 * SECOND / 1_560),
                agent: tool(&mut dice),
                template: dice.bits() | 1,
                input: 2_000 + dice.below(14_000),
                model: dice.pick(&["gpt-5-pro", "claude-opus", "gpt-5"]),
                ..base.clone()
            })
            .collect(),
        Theft::AgentSessions => (0..200u64)
            .map(|i| Call {
                time: start.plus(i * 20 * SECOND),
                agent: Agent { family: "claude-cli", version: "1.0.88".into(), tls: base.agent.tls },
                input: 20_000 + i * 800,
                output: 50 + dice.below(1_450),
                model: "claude-opus",
                ..base.clone()
            })
            .collect(),
        Theft::ModelUpgrade => quiet(&base, victim, &mut dice, 1.3, "claude-opus"),
        Theft::QuietSharing => {
            let home = Place { kind: NetworkKind::Access, asn: 9_299, country: "PH", ..base.place };
            let (_, agent, model, ..) = victim.habits();
            quiet(&Call { place: home, agent, ..base }, victim, &mut dice, 0.1, model)
        }
    }
}

/// The open checkers' four calls.
fn check(base: &Call) -> Vec<Call> {
    let probe = |ms: u64, endpoint, output_max, status| Call {
        time: base.time.plus(ms * 1_000),
        endpoint,
        model: if endpoint == Endpoint::ChatCompletions { "gpt-4o-mini" } else { "" },
        template: 0,
        input: 0,
        output: 0,
        output_max,
        status,
        ..base.clone()
    };
    vec![
        probe(0, Endpoint::Models, 0, 200),
        probe(500, Endpoint::ChatCompletions, 1, 400),
        probe(900, Endpoint::ChatCompletions, 1, 400),
        probe(1_600, Endpoint::Administration, 0, 403),
    ]
}

fn enumerate(base: &Call, dice: &mut Dice) -> Vec<Call> {
    let models = ["claude-v2", "claude-instant", "titan-text", "llama3-70b", "mistral-large", "command-r"];
    (0..40u64)
        .map(|i| Call {
            time: base.time.plus(i * 200_000),
            model: models[i as usize % models.len()],
            template: 0,
            input: 10,
            output: 0,
            output_max: 1,
            status: if dice.chance(0.6) { 400 } else { 403 },
            ..base.clone()
        })
        .collect()
}

/// In the victim's manner, at a share of its rate, with own prompts.
fn quiet(base: &Call, victim: &Owner, dice: &mut Dice, share: f64, model: &'static str) -> Vec<Call> {
    let (.., per_day, sizes) = victim.habits();
    let n = ((per_day * share * 3.0).round() as u64).clamp(4, 300);
    let prompts: Vec<u64> = (0..3).map(|_| dice.bits() | 1).collect();
    (0..n)
        .map(|i| Call {
            time: base.time.plus(i * 3 * DAY / n + dice.below(10 * MINUTE)),
            model,
            template: dice.pick(&prompts),
            input: dice.lognormal(sizes * 2.0, 0.6) as u64,
            output: dice.lognormal(300.0, 0.6) as u64,
            ..base.clone()
        })
        .collect()
}
