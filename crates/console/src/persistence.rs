//! What a stranger left at the providers: asked of each with its own credentials, kept with the incident; the CLI and the
//! admin API both come here.
//!
//! Asking needs addresses and secrets, which are the rest of the process's: [`ProviderHost`] is the way there.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tokenwatch_model::SmolStr;
use tokenwatch_model::artifact::{Answer, Artifact, ArtifactKind, Question};
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::handling::{Asked, CreatingCall, Found, NotAsked, PersistenceCheck};
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::incident::IncidentState;
use tokenwatch_model::key::Policy;
use tokenwatch_model::provider::{Dialect, SecretRef};
use tokenwatch_model::time::{HOUR, MINUTE, Timestamp};
use tokenwatch_respond::persistence::{self, GatewayCall, Verdict};
use tokenwatch_wire::inventory::{self, Listing, Next};

use crate::cases::Case;
use crate::manage::{Manager, invalid, refused};
use crate::records::RecordsError;

mod command;

/// Most ids that are accounted for at a time.
const ACCOUNTED_MAX: usize = 1_000;
/// How long before it created something a call may have arrived: uploads take their time.
const CALL_MAX: u64 = HOUR;

/// What asking providers needs of the rest of the process.
pub trait ProviderHost: Send + Sync {
    /// The providers as configured now.
    fn places(&self) -> Vec<ProviderPlace>;
    /// Asks a provider with one of its credentials; blocks. An answer of any status is one.
    ///
    /// # Errors
    ///
    /// When the credential can not be read or there is no answer; in words, without secrets.
    fn ask(
        &self,
        place: &ProviderPlace,
        credential: &SecretRef,
        question: &Question,
    ) -> Result<Answer, String>;
}

/// A provider as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderPlace {
    /// Its name.
    pub name: SmolStr,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub base_url: String,
    /// References to its credentials.
    pub credentials: Vec<SecretRef>,
}

/// How a check is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersistenceSpec {
    /// Ids of artifacts that whoever asks accounts for: they are the owner's, or were dealt with.
    pub accounted: Vec<SmolStr>,
}

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersistenceOut {
    /// The incident.
    pub incident: IncidentId,
    /// Its key.
    pub key: KeyId,
    /// In a word.
    pub verdict: Verdict,
    /// When the providers were asked.
    pub time: Timestamp,
    /// From when on artifacts count: the stranger's first request.
    pub since: Timestamp,
    /// Until when: the end of the incident; nothing while it is open.
    pub until: Option<Timestamp>,
    /// Each credential of each provider that the key may use.
    pub asked: Vec<Asked>,
    /// What was found, oldest first.
    pub found: Vec<ArtifactOut>,
    /// How many more were found than are kept.
    pub more: u64,
    /// Ids that were accounted for and are not there.
    pub unknown: Vec<SmolStr>,
}

/// An artifact that was found, and how to get rid of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactOut {
    /// The artifact.
    #[serde(flatten)]
    pub found: Found,
    /// What to type; nothing where a request can do nothing.
    pub remove: Vec<String>,
}

/// A question under way, for whoever waits.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Name of the provider.
    pub provider: &'a str,
    /// What it is asked for; nothing while the events are read.
    pub kind: Option<ArtifactKind>,
}

/// Calls to where artifacts are created, of any key.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ArtifactCalls {
    /// Those that were forwarded and succeeded.
    pub events: Vec<UsageEvent>,
    /// Whether all events could be read.
    pub is_whole: bool,
}

/// Someone who is told of progress.
pub type Watch<'a> = &'a mut dyn FnMut(Progress<'_>);

impl Manager {
    /// Asks the providers that an incident's key may use what was created there since its stranger came, and keeps the answer
    /// with the incident. `defaults` is what keys inherit from nobody else.
    ///
    /// # Errors
    ///
    /// When there is no such incident, it is a drill's or was "it was us", or the store does not answer. What a provider does
    /// not answer is no error: it is told in the result.
    pub fn check_persistence(
        &self,
        defaults: &Policy,
        host: &dyn ProviderHost,
        id: &str,
        spec: &PersistenceSpec,
        who: &str,
        watch: Watch<'_>,
    ) -> Result<PersistenceOut, RecordsError> {
        let case = self.case(id)?;
        check_wanted(&case, spec)?;
        // Before the first question: what is created while it goes on is not known to be absent.
        let time = self.clock.now();
        let places = in_scope(&case, defaults, host.places());
        let (since, until) = (case.incident.first_seen, case.incident.closed);
        let mut check = PersistenceCheck {
            time,
            who: who.into(),
            since,
            until,
            asked: Vec::new(),
            found: Vec::new(),
            more: 0,
        };
        for place in &places {
            for credential in &place.credentials {
                let asked = ask_all(host, place, credential, &mut check, watch);
                check.asked.push(asked);
            }
        }
        persistence::bound(&mut check);
        if !check.found.is_empty() {
            watch(Progress { provider: "", kind: None });
            self.attribute(&case, &mut check)?;
        }
        let unknown = |id: &&SmolStr| !check.found.iter().any(|one| one.artifact.id == **id);
        let unknown: Vec<SmolStr> = spec.accounted.iter().filter(unknown).cloned().collect();
        let effects = self.write(|| {
            let incident = self.case(id)?.incident;
            Ok(persistence::record(incident, check.clone(), &spec.accounted))
        })?;
        let kept = effects.incident.and_then(|incident| incident.handling.persistence).unwrap_or(check);
        Ok(out(&case, kept, &places, unknown))
    }

    /// Says whose call created what was found.
    fn attribute(&self, case: &Case, check: &mut PersistenceCheck) -> Result<(), RecordsError> {
        let times = || check.found.iter().map(|one| one.artifact.created);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
        let from = Timestamp(first.0.saturating_sub(CALL_MAX));
        let Ok(calls) = self.records.artifact_calls(from, last.plus(MINUTE)) else {
            // What the providers said is worth more than whose call it was: it stays unknown.
            return Ok(());
        };
        let strangers = case.strangers();
        let call = |event: &UsageEvent| GatewayCall {
            key: event.request.key,
            provider: event.request.provider.clone(),
            endpoint: event.request.endpoint,
            began: event.request.time,
            ended: event.request.time.plus(event.duration_us),
            is_stranger: strangers.iter().any(|context| context.matches(&event.request)),
        };
        let found: Vec<GatewayCall> = calls.events.iter().map(call).collect();
        persistence::attribute(&mut check.found, case.key.id, &found);
        if !calls.is_whole {
            let missing = check.found.iter_mut().filter(|one| one.call == CreatingCall::Nobody);
            missing.for_each(|one| one.call = CreatingCall::Unknown);
        }
        Ok(())
    }
}

fn check_wanted(case: &Case, spec: &PersistenceSpec) -> Result<(), RecordsError> {
    let incident = &case.incident;
    if incident.drill {
        return Err(refused(format!("{} is a drill's: nothing of it reached a provider", incident.id)));
    }
    if incident.state == IncidentState::Dismissed {
        return Err(refused(format!(
            "{} was dismissed as \"it was us\": there was no stranger",
            incident.id
        )));
    }
    if spec.accounted.len() > ACCOUNTED_MAX {
        return Err(invalid("accounted", format!("at most {ACCOUNTED_MAX} ids at a time")));
    }
    Ok(())
}

/// The providers that the key may use.
fn in_scope(case: &Case, defaults: &Policy, places: Vec<ProviderPlace>) -> Vec<ProviderPlace> {
    let mut scope = case.key.policy.scope.clone();
    if let Some(owner) = &case.owner {
        scope = scope.or(&owner.defaults.scope);
    }
    let allowed = scope.or(&defaults.scope).providers;
    let is_allowed = |place: &ProviderPlace| allowed.as_ref().is_none_or(|names| names.contains(&place.name));
    places.into_iter().filter(is_allowed).collect()
}

/// Asks a provider for everything it knows, with one credential.
fn ask_all(
    host: &dyn ProviderHost,
    place: &ProviderPlace,
    credential: &SecretRef,
    check: &mut PersistenceCheck,
    watch: Watch<'_>,
) -> Asked {
    let (provider, source) = (place.name.clone(), SmolStr::new(credential.to_string()));
    let mut asked = Asked { provider, credential: source.clone(), kinds: Vec::new(), failed: Vec::new() };
    let mut away: Option<String> = None;
    for kind in inventory::kinds(place.dialect).iter().copied() {
        watch(Progress { provider: &place.name, kind: Some(kind) });
        let mut listing = Listing::new(check.since, check.until);
        let read = match &away {
            // It would not answer the next question either, and every silence lasts as long as patience does.
            Some(why) => Err(Gap { why: why.clone(), is_for_all: true }),
            None => read_list(host, place, credential, kind, &mut listing),
        };
        // What came before a list broke off is there all the same.
        take(check, &place.name, &source, listing.found());
        match read {
            Ok(()) => asked.kinds.push(kind),
            Err(gap) => {
                away = away.or_else(|| gap.is_for_all.then(|| gap.why.clone()));
                match asked.failed.iter_mut().find(|failed| failed.why == gap.why) {
                    Some(failed) => failed.kinds.push(kind),
                    None => asked.failed.push(NotAsked { kinds: vec![kind], why: gap.why }),
                }
            }
        }
    }
    asked
}

/// Why a list was not read to its end.
struct Gap {
    why: String,
    /// Whether it is the same for every list.
    is_for_all: bool,
}

fn read_list(
    host: &dyn ProviderHost,
    place: &ProviderPlace,
    credential: &SecretRef,
    kind: ArtifactKind,
    listing: &mut Listing,
) -> Result<(), Gap> {
    let gap = |why: String, is_for_all| Gap { why, is_for_all };
    let mut after: Option<SmolStr> = None;
    loop {
        let question = inventory::question(place.dialect, kind, after.as_deref());
        let answer = host.ask(place, credential, &question).map_err(|why| gap(why, true))?;
        if answer.status != 200 {
            let said = inventory::complaint(&answer.body).map(|said| format!(": {said}")).unwrap_or_default();
            return Err(gap(format!("{}{said}", answer.status), answer.status == 401));
        }
        let page = inventory::read_page(kind, &answer.body).map_err(|error| gap(error.to_string(), false))?;
        match listing.take(page) {
            Next::After(id) => after = Some(id),
            Next::Whole => return Ok(()),
            Next::Broken(why) => return Err(gap(why.to_owned(), false)),
        }
    }
}

/// Adds what was found with a credential. Two credentials of one account see the same.
fn take(check: &mut PersistenceCheck, provider: &SmolStr, credential: &SmolStr, found: Vec<Artifact>) {
    let known: HashSet<(ArtifactKind, SmolStr)> = check
        .found
        .iter()
        .filter(|one| one.provider == *provider)
        .map(|one| (one.artifact.kind, one.artifact.id.clone()))
        .collect();
    let new = found.into_iter().filter(|artifact| !known.contains(&(artifact.kind, artifact.id.clone())));
    check.found.extend(new.map(|artifact| Found {
        provider: provider.clone(),
        credential: credential.clone(),
        artifact,
        call: CreatingCall::Unknown,
        other_key: None,
        accounted: None,
    }));
}

fn out(
    case: &Case,
    check: PersistenceCheck,
    places: &[ProviderPlace],
    unknown: Vec<SmolStr>,
) -> PersistenceOut {
    let verdict = persistence::verdict(&check);
    let with_commands = |found: Found| {
        let place = places.iter().find(|place| place.name == found.provider);
        ArtifactOut { remove: place.map_or_else(Vec::new, |place| command::removals(place, &found)), found }
    };
    let PersistenceCheck { time, who: _, since, until, asked, found, more } = check;
    PersistenceOut {
        incident: case.incident.id,
        key: case.key.id,
        verdict,
        time,
        since,
        until,
        asked,
        found: found.into_iter().map(with_commands).collect(),
        more,
        unknown,
    }
}
