//! What each change does to a key's life.

use tokenwatch_model::id::KeyId;
use tokenwatch_model::provider::{Dialect, Endpoint};

use super::agents::Agent;
use super::changes::{Change, Happening};
use super::identity::{Callers, Crew, Owner, Part, Person, Placed, Stay, access, machines, models, region};
use super::life::{Life, SwellKind};
use super::prompts::Prompt;
use super::sites::Site;
use crate::place::Network;
use crate::place::table::{ACCESS_WIDE, CLOUD_WIDE, EXIT_WIDE, HOSTING_WIDE};
use crate::rng::Rng;
use crate::software::{Family, Software};
use crate::traffic::DAY_MS;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Puts a change into a life. Changes come in time order.
pub(crate) fn apply(life: &mut Life, owner: &Owner, happening: &Happening) {
    let Happening { at_ms, change, seed } = *happening;
    let mut rng = Rng::new(seed);
    match change {
        Change::Backfill => {
            let times = rng.log_uniform(5.0, 30.0) - 1.0;
            life.swell(at_ms, rng.range(HOUR_MS, 5 * HOUR_MS), SwellKind::Extra { times, part: 0 });
        }
        Change::BatchJob => life.swell(at_ms, 4 * HOUR_MS, SwellKind::Extra { times: 9.0, part: 0 }),
        Change::RetryStorm => {
            life.swell(at_ms, rng.range(5 * MINUTE_MS, 40 * MINUTE_MS), SwellKind::Outage);
        }
        Change::Growth => life.swell(at_ms, u64::MAX, SwellKind::Growth),
        Change::Holiday => life.swell(at_ms, rng.range(3, 5) * DAY_MS, SwellKind::Times(0.0)),
        Change::DaylightSaving => life.swell(at_ms, u64::MAX, SwellKind::Earlier { ms: HOUR_MS }),
        Change::KeyRotation => life.rotated = Some((at_ms, KeyId::from_bits(rng.next_u64()))),
        Change::LoadTest => load_test(life, owner, at_ms, &mut rng),
        Change::Failover => failover(life, owner, at_ms, &mut rng),
        _ => {
            if life.crew_from(at_ms).is_none() {
                return;
            }
            let Some(era) = life.eras.last_mut() else { return };
            let crew = &mut era.crew;
            let deployed = change_crew(crew, owner, change, at_ms, &mut rng);
            if deployed {
                life.deployments.push(at_ms);
            }
        }
    }
}

/// Changes who is behind the key. Returns whether that is a deployment.
fn change_crew(crew: &mut Crew, owner: &Owner, change: Change, at_ms: u64, rng: &mut Rng) -> bool {
    match change {
        Change::SdkUpgrade => sdk_upgrade(crew, rng),
        Change::NewModel => new_model(crew, rng),
        Change::ModelMigration => model_migration(crew, rng),
        Change::NewPrompt => new_prompt(crew, owner, rng),
        Change::PromptDeployment => {
            let prompts = crew.parts.iter_mut().flat_map(|part| &mut part.prompts);
            prompts.for_each(|prompt| *prompt = prompt.revised(rng));
        }
        Change::NewEndpoint => new_endpoint(crew, rng),
        Change::NewComponent => {
            let part = component(crew, owner, rng);
            crew.parts.extend(part);
        }
        Change::NewWorkload => {
            let part = workload(crew, owner, rng);
            crew.parts.extend(part);
        }
        Change::NewPrefix | Change::NewRegion | Change::Migration | Change::ServerlessPool => {
            move_machines(crew, owner, change, at_ms, rng);
        }
        _ => {
            people(crew, owner, change, at_ms, rng);
            return false;
        }
    }
    true
}

fn sdk_upgrade(crew: &mut Crew, rng: &mut Rng) {
    let new_build = rng.chance(0.3);
    let Some(part) = crew.parts.first_mut() else { return };
    match &mut part.callers {
        Callers::Machines { agent, .. } => *agent = agent.upgraded(new_build, rng),
        Callers::People { people, .. } => {
            let who = rng.below(people.len() as u64) as usize;
            if let Some(person) = people.get_mut(who) {
                person.agent = person.agent.upgraded(new_build, rng);
            }
        }
        Callers::Users { agents, .. } => {
            // End users get a release one after another: it comes beside what is there.
            if let Some(newest) = agents.first().map(|agent| agent.upgraded(new_build, rng)) {
                agents.insert(0, newest);
            }
        }
    }
}

fn unknown_model(crew: &Crew, rng: &mut Rng) -> Option<&'static str> {
    let used = |model: &str| crew.parts.iter().any(|part| part.models.iter().any(|(m, _)| *m == model));
    let unknown: Vec<&str> = models(crew.dialect).iter().copied().filter(|model| !used(model)).collect();
    rng.pick_from(&unknown).copied()
}

fn new_model(crew: &mut Crew, rng: &mut Rng) {
    let Some(model) = unknown_model(crew, rng) else { return };
    if let Some(part) = crew.parts.first_mut() {
        part.models.push((model, rng.log_uniform(0.05, 0.8)));
    }
}

fn model_migration(crew: &mut Crew, rng: &mut Rng) {
    let Some(model) = unknown_model(crew, rng) else { return };
    if let Some(main) = crew.parts.first_mut().and_then(|part| part.models.first_mut()) {
        main.0 = model;
    }
}

fn new_prompt(crew: &mut Crew, owner: &Owner, rng: &mut Rng) {
    let people = !matches!(crew.main().map(|part| &part.callers), Some(Callers::Machines { .. }));
    let Some(part) = crew.parts.first_mut() else { return };
    let which = rng.below(part.prompts.len() as u64) as usize;
    match part.prompts.get_mut(which) {
        // A new version replaces the old one; else a new one comes beside.
        Some(prompt) if rng.chance(0.5) => *prompt = prompt.revised(rng),
        _ => {
            let new = owner.prompt(people, rng);
            let at = rng.below(part.prompts.len() as u64 + 1) as usize;
            part.prompts.insert(at, new);
        }
    }
}

fn new_endpoint(crew: &mut Crew, rng: &mut Rng) {
    let known = match crew.dialect {
        Dialect::OpenAi => [
            Endpoint::Embeddings,
            Endpoint::Embeddings,
            Endpoint::Responses,
            Endpoint::Moderations,
            Endpoint::Files,
        ],
        Dialect::Anthropic => [
            Endpoint::CountTokens,
            Endpoint::CountTokens,
            Endpoint::Batches,
            Endpoint::Files,
            Endpoint::Models,
        ],
    };
    let endpoint = *rng.pick(&known);
    if let Some(part) = crew.parts.first_mut() {
        part.extra.push((endpoint, rng.log_uniform(0.01, 0.2)));
    }
}

/// Another program of the same service: beside it, with prompts of its own.
fn component(crew: &Crew, owner: &Owner, rng: &mut Rng) -> Option<Part> {
    let main = crew.main()?;
    let (agent, network) = match &main.callers {
        Callers::Machines { agent, sites } => (agent.clone(), sites.first()?.site.network()),
        _ => (owner.sdk(crew.dialect, rng), *owner.regions.first()?),
    };
    let agent = other_agent(agent, crew.dialect, rng);
    let site = match &main.callers {
        Callers::Machines { sites, .. } if rng.chance(0.6) => sites.first()?.site.clone(),
        _ => Site::server(network, rng),
    };
    Some(beside(main, machines(agent, site), owner, rng))
}

/// A service of somebody else on the same key: from elsewhere, in a country new to the key every second time.
fn workload(crew: &Crew, owner: &Owner, rng: &mut Rng) -> Option<Part> {
    let main = crew.main()?;
    let network: &Network = if rng.chance(0.8) {
        let country = if rng.chance(0.5) { owner.country } else { rng.pick(&CLOUD_WIDE).country };
        region(country, rng)
    } else {
        access(rng.pick(&ACCESS_WIDE).country, rng)
    };
    let agent = match (rng.chance(0.75), &main.callers) {
        (true, Callers::Machines { agent, .. }) => agent.clone(),
        _ => owner.sdk(crew.dialect, rng),
    };
    let agent = other_agent(agent, crew.dialect, rng);
    let site = if rng.chance(0.3) { Site::pool(network, 4, 2.0, rng) } else { Site::server(network, rng) };
    Some(beside(main, machines(agent, site), owner, rng))
}

/// The same software, or a newer one, or another build, or something else.
fn other_agent(agent: Agent, dialect: Dialect, rng: &mut Rng) -> Agent {
    match rng.below(100) {
        0..70 => agent,
        70..85 => agent.upgraded(false, rng),
        85..92 => agent.upgraded(true, rng),
        92..97 => Agent::sdk(*rng.pick(&[Family::SdkPython, Family::SdkTypeScript]), dialect, rng),
        _ => Agent::new(Software::plain(Family::Requests, "2.32.3"), dialect, 0),
    }
}

fn beside(main: &Part, callers: Callers, owner: &Owner, rng: &mut Rng) -> Part {
    let models = main.models.first().copied().into_iter().collect();
    Part {
        weight: rng.log_uniform(0.05, 0.8) * main.weight,
        callers,
        prompts: (0..rng.range(1, 3)).map(|_| owner.prompt(false, rng)).collect(),
        models,
        extra: Vec::new(),
        stream: *rng.pick(&[0.0, 1.0]),
        size: (rng.log_uniform(0.4, 2.5), rng.log_uniform(0.4, 2.5)),
    }
}

fn move_machines(crew: &mut Crew, owner: &Owner, change: Change, at_ms: u64, rng: &mut Rng) {
    let Some(Callers::Machines { sites, .. }) = crew.parts.first_mut().map(|part| &mut part.callers) else {
        return;
    };
    let Some(old) = sites.first().map(|placed| placed.site.clone()) else { return };
    let network = match change {
        Change::NewPrefix => old.network(),
        // The same cloud elsewhere, mostly; else another one.
        _ => match rng.pick_from(&owner.regions) {
            Some(known) if rng.chance(0.4) => known,
            _ => elsewhere(old.network(), rng),
        },
    };
    let new = match (&old, change) {
        (_, Change::ServerlessPool) => Site::pool(old.network(), 12, 40.0, rng),
        (Site::Rotating { slots, hold_ms, .. }, Change::NewRegion | Change::Migration) => {
            let per_day = *slots as f64 * DAY_MS as f64 / *hold_ms as f64;
            Site::pool(network, *slots, per_day, rng)
        }
        _ => Site::server(network, rng),
    };
    let total: f64 = sites.iter().filter(|placed| placed.until_ms > at_ms).map(|placed| placed.share).sum();
    match change {
        Change::NewRegion | Change::NewPrefix => {
            let part = rng.range(20, 60) as f64 / 100.0;
            sites.push(Placed::forever(new, total * part / (1.0 - part)));
        }
        _ => {
            sites.iter_mut().for_each(|placed| placed.until_ms = placed.until_ms.min(at_ms));
            sites.push(Placed::forever(new, 1.0));
        }
    }
}

/// Another region of the same system, or of another cloud one time in four.
fn elsewhere(from: &Network, rng: &mut Rng) -> &'static Network {
    let same: Vec<&Network> = CLOUD_WIDE
        .iter()
        .filter(|network| network.asn == from.asn && network.country != from.country)
        .collect();
    match rng.pick_from(&same) {
        Some(network) if rng.chance(0.75) => network,
        _ => rng.pick(&CLOUD_WIDE),
    }
}

fn people(crew: &mut Crew, owner: &Owner, change: Change, at_ms: u64, rng: &mut Rng) {
    let dialect = crew.dialect;
    let Some(part) = crew.parts.first_mut() else { return };
    let (people, office) = match &mut part.callers {
        Callers::People { people, office } => (people, office),
        Callers::Users { phone, .. } if change == Change::MobileCarrier => {
            *phone = Some((at_ms, carrier(owner, rng)));
            return;
        }
        _ => return,
    };
    let who = rng.below(people.len() as u64) as usize;
    let away = |site: Site, length_ms: u64| Stay { from_ms: at_ms, until_ms: at_ms + length_ms, site };
    match change {
        Change::NewTeammate => people.push(Person::draw(owner, dialect, rng)),
        Change::OfficeToHome => people.iter_mut().for_each(|person| person.office = 0.0),
        Change::StaffOnVpn => {
            let stay = away(owner.vpn.clone(), 5 * DAY_MS);
            people.iter_mut().for_each(|person| person.stays.push(stay.clone()));
        }
        Change::MobileCarrier => {
            for person in people.iter_mut() {
                person.stays.push(away(carrier(owner, rng), 3 * DAY_MS));
            }
        }
        Change::Travel | Change::Cafe | Change::VpnExit => {
            let Some(person) = people.get_mut(who) else { return };
            let stay = match change {
                Change::Travel => {
                    let abroad = rng.pick(&ACCESS_WIDE);
                    away(Site::line(abroad, 1.5, rng), rng.range(DAY_MS, 6 * DAY_MS))
                }
                Change::Cafe => {
                    away(Site::single(access(owner.country, rng), rng), rng.range(HOUR_MS, 4 * HOUR_MS))
                }
                _ => {
                    // The company's, or one of their own.
                    let own = Site::line(rng.pick(&EXIT_WIDE), 0.5, rng);
                    let site = if rng.chance(0.5) { owner.vpn.clone() } else { own };
                    away(site, rng.range(2 * HOUR_MS, 4 * DAY_MS))
                }
            };
            person.stays.push(stay);
        }
        _ => *office = owner.office.clone(),
    }
}

fn carrier(owner: &Owner, rng: &mut Rng) -> Site {
    Site::line(access(owner.country, rng), 1.0 / 24.0, rng)
}

/// A test of the owner's own: a part that only calls during it, from the pipeline or a rented server.
fn load_test(life: &mut Life, owner: &Owner, at_ms: u64, rng: &mut Rng) {
    let Some(crew) = life.crew_from(at_ms) else { return };
    let Some(main) = crew.main().cloned() else { return };
    let network = rng.pick_from(&owner.regions).copied().unwrap_or_else(|| rng.pick(&HOSTING_WIDE));
    let agent = match (&main.callers, rng.chance(0.5)) {
        (Callers::Machines { agent, .. }, true) => agent.clone(),
        (_, true) => owner.sdk(crew.dialect, rng),
        _ => Agent::new(Software::plain(Family::Requests, "2.32.3"), crew.dialect, 0),
    };
    let prompts: Vec<Prompt> = main.prompts.first().map(|prompt| prompt.fixed()).into_iter().collect();
    let callers = machines(agent, Site::server(network, rng));
    crew.parts.push(Part { weight: 0.0, callers, prompts, extra: Vec::new(), size: (1.0, 1.0), ..main });
    let part = crew.parts.len() - 1;
    let times = rng.log_uniform(20.0, 60.0);
    life.swell(at_ms, 30 * MINUTE_MS, SwellKind::Extra { times, part });
}

/// The second region takes half of everything, and everything is done twice.
fn failover(life: &mut Life, owner: &Owner, at_ms: u64, rng: &mut Rng) {
    let length_ms = rng.range(4 * HOUR_MS, 12 * HOUR_MS);
    let Some(crew) = life.crew_from(at_ms) else { return };
    let Some(Callers::Machines { sites, .. }) = crew.parts.first_mut().map(|part| &mut part.callers) else {
        return;
    };
    let Some(old) = sites.first().map(|placed| placed.site.network()) else { return };
    let standby = owner.regions.iter().copied().find(|region| region.name != old.name);
    let network = standby.unwrap_or_else(|| elsewhere(old, rng));
    let total: f64 = sites.iter().filter(|placed| placed.until_ms > at_ms).map(|placed| placed.share).sum();
    sites.push(Placed { site: Site::server(network, rng), share: total, until_ms: at_ms + length_ms });
    life.swell(at_ms, length_ms, SwellKind::Times(2.0));
}
