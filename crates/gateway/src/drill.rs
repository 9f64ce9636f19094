//! Drills on the request path: who may send their requests, and where those go.
//!
//! A request of a drill presents the credential of the stand-in, and a signed claim in [`HEADER`]. It takes the path of any
//! other request, on a [`Live`] of its own: the stand-in's.
//!
//! Invariants:
//! * No request of a drill reaches a provider: its stand-in has the mock's address and no other.
//! * Nothing of a drill is booked on its key, taught to it, journalled, checkpointed or counted among requests.
//! * A claim is taken once, for the request it was signed for, while its drill runs; a claim that is not taken is refused, and
//!   never falls back to the credential. A stand-in's credential is worth nothing without a claim.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, Method, Uri};
use parking_lot::{Mutex, RwLock};
use ring::{digest, hmac};
use tokenwatch_model::context::Source;
use tokenwatch_model::drill::{Drill, DrillCall};
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::id::{DrillId, KeyId};
use tokenwatch_model::key::{KeyState, Rotation};
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::ports::EventSink;
use tokenwatch_model::secret::{Secret, SecretHash};
use tokenwatch_model::time::Timestamp;

use crate::gateway::Gateway;
use crate::live::Live;
use crate::refuse::Stop;
use crate::registry::KeyEntry;
use crate::settings::{Credential, Origin, Provider};
use crate::ticket::Open;

/// Carries the signed claim of a drill's request.
pub static HEADER: HeaderName = HeaderName::from_static("x-tokenwatch-drill");

/// Drills that run at the same time.
pub const RUNNING_MAX: usize = 4;
/// Requests of one drill: its numbers are remembered.
pub const REQUESTS_MAX: usize = 200_000;

const VERSION: &str = "v1";
const REFUSED: &str = "the drill claim is not signed by a drill that runs here, or was taken before";

/// Why a drill can not start.
#[derive(Debug, thiserror::Error)]
pub enum StartDrillError {
    /// There is no such key here.
    #[error("the key is not known to this gateway")]
    NoKey,
    /// The key serves nobody, so there is nothing to keep serving.
    #[error("the key is {0}: a drill shows that its owner keeps working, and nobody can")]
    Unusable(&'static str),
    /// One is under way on the same key.
    #[error("the drill {0} runs on this key; wait for its end, or end it: `tokenwatch drill end {0}`")]
    Running(DrillId),
    /// Too many run.
    #[error("{RUNNING_MAX} drills run already; wait for one to end")]
    TooMany,
    /// What was learned can not be read.
    #[error("what was learned of the key can not be read: {0}")]
    Unread(String),
}

/// The drills that run.
#[derive(Default)]
pub struct Drills(RwLock<Vec<Arc<Drilling>>>);

/// What a drill's driver needs.
pub struct DrillSecrets {
    /// Signs the claims.
    pub signer: Secret,
    /// What the requests present: the credential of the stand-in.
    pub credential: Secret,
}

/// A drill that runs.
pub struct Drilling {
    /// What it is.
    pub drill: Drill,
    /// The stand-in's live state, and nobody else's.
    pub live: Live,
    signer: hmac::Key,
    providers: Vec<Arc<Provider>>,
    /// Numbers of the claims that were taken.
    taken: Mutex<HashSet<u64>>,
}

impl Drilling {
    /// The latest rotation of the stand-in.
    pub fn rotation(&self) -> Option<Rotation> {
        self.live.entry(self.drill.stand_in())?.rotation()
    }
}

impl Drills {
    fn find(&self, wanted: impl Fn(&Drill) -> bool) -> Option<Arc<Drilling>> {
        self.0.read().iter().find(|running| wanted(&running.drill)).cloned()
    }

    /// The drill with this id, while it runs.
    pub fn running(&self, id: DrillId) -> Option<Arc<Drilling>> {
        self.find(|drill| drill.id == id)
    }

    /// The drill whose stand-in this is, while it runs.
    pub fn standing_in(&self, key: KeyId) -> Option<Arc<Drilling>> {
        self.find(|drill| drill.stand_in() == key)
    }

    /// Drills whose time is over.
    pub fn overdue(&self, now: Timestamp) -> Vec<Drill> {
        let running = self.0.read();
        running
            .iter()
            .filter(|running| running.drill.until <= now)
            .map(|running| running.drill.clone())
            .collect()
    }

    /// Ends a drill: its claims are refused from now on, and its stand-in is forgotten.
    pub fn end(&self, id: DrillId) {
        let mut running = self.0.write();
        running
            .iter()
            .filter(|drilling| drilling.drill.id == id)
            .for_each(|drilling| drilling.live.cut_all());
        running.retain(|drilling| drilling.drill.id != id);
    }

    fn add(&self, drilling: Drilling) -> Result<(), StartDrillError> {
        let mut running = self.0.write();
        let key = drilling.drill.key;
        if let Some(other) = running.iter().find(|other| other.drill.key == key) {
            return Err(StartDrillError::Running(other.drill.id));
        }
        if running.len() >= RUNNING_MAX {
            return Err(StartDrillError::TooMany);
        }
        running.push(Arc::new(drilling));
        Ok(())
    }

    pub(crate) fn cut_all(&self) {
        self.0.read().iter().for_each(|drilling| drilling.live.cut_all());
    }
}

impl Gateway {
    /// Starts a drill whose requests are answered by the mock at `mock`; its secrets are returned and known to nobody else.
    ///
    /// Call it off the runtime: the key's state is read from the store when it is not in memory.
    ///
    /// # Errors
    ///
    /// See [`StartDrillError`].
    pub fn start_drill(&self, drill: Drill, mock: &Origin) -> Result<DrillSecrets, StartDrillError> {
        let now = self.now();
        let original = self.live.entry(drill.key).ok_or(StartDrillError::NoKey)?;
        original.usable(now).map_err(|refusal| StartDrillError::Unusable(refusal.code()))?;
        let mind = self.copy_mind(drill.key)?;
        let secret = Secret::new(self.random_hex());
        let (credential, hash) = self.mint(drill.stand_in());
        let entry = Arc::new(KeyEntry {
            id: drill.stand_in(),
            name: original.name.clone(),
            owner: original.owner,
            hash,
            before: None,
            state: KeyState::Active,
            expires: None,
            policy: original.policy.clone(),
            profile: original.profile.clone(),
            revision: original.revision,
        });
        let live = self.live.beside(drill.key, entry.id);
        live.put_key(entry.clone(), now);
        live.put_mind(entry.id, mind);
        let drilling = Drilling {
            drill,
            live,
            signer: signer(&secret),
            providers: self.settings().providers.iter().map(|provider| stand_in(provider, mock)).collect(),
            taken: Mutex::default(),
        };
        self.drills.add(drilling)?;
        Ok(DrillSecrets { signer: secret, credential })
    }

    /// Rotates the credential of a drill's stand-in, as that of a key is rotated; the new one. `None` when the drill does not
    /// run.
    pub fn rotate_stand_in(&self, id: DrillId, rotation: Rotation) -> Option<Secret> {
        let drilling = self.drills.running(id)?;
        let entry = drilling.live.entry(drilling.drill.stand_in())?;
        let (credential, hash) = self.mint(entry.id);
        drilling.live.put_key(Arc::new(entry.rotated(hash, rotation)), rotation.rotated);
        Some(credential)
    }

    fn mint(&self, key: KeyId) -> (Secret, SecretHash) {
        let mut random = [0; 32];
        self.ports.random.fill(&mut random);
        tokenwatch_model::credential::mint(key, &random)
    }

    fn random_hex(&self) -> String {
        let mut bytes = [0; 32];
        self.ports.random.fill(&mut bytes);
        hex(&bytes)
    }

    /// The live state in which a key is judged: a stand-in's own, or everybody's.
    pub fn live_of(&self, key: KeyId) -> LiveRef<'_> {
        match self.drills.standing_in(key) {
            Some(drilling) => LiveRef::StandIn(drilling),
            None => LiveRef::Own(&self.live),
        }
    }
}

/// Where a key is judged.
pub enum LiveRef<'a> {
    /// With all others.
    Own(&'a Live),
    /// In a drill.
    StandIn(Arc<Drilling>),
}

impl Deref for LiveRef<'_> {
    type Target = Live;

    fn deref(&self) -> &Live {
        match self {
            Self::Own(live) => live,
            Self::StandIn(drilling) => &drilling.live,
        }
    }
}

/// A provider as a drill sees it: the same name, protocol and prices, and the mock behind it.
fn stand_in(provider: &Provider, mock: &Origin) -> Arc<Provider> {
    let credential = Credential::new("drill".into());
    // The mock checks none, so any text that can stand in a header does.
    let _ = credential.set(provider.dialect, Some(&Secret::new("drill")));
    Arc::new(Provider {
        name: provider.name.clone(),
        dialect: provider.dialect,
        origin: mock.clone(),
        prices_as: provider.prices_as.clone(),
        credentials: vec![Arc::new(credential)],
    })
}

fn signer(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())
}

/// What is signed.
fn message(method: &Method, target: &str, claim: &str) -> String {
    format!("tokenwatch drill {VERSION}\n{method}\n{target}\n{claim}")
}

/// The value of [`HEADER`] for a request to `target` (path and query), whose body is the one that `call` names.
///
/// # Errors
///
/// When the claim can not be written as JSON.
pub fn sign(
    secret: &Secret,
    method: &Method,
    target: &str,
    call: &DrillCall,
) -> Result<String, serde_json::Error> {
    let claim = URL_SAFE_NO_PAD.encode(serde_json::to_vec(call)?);
    let tag = hmac::sign(&signer(secret), message(method, target, &claim).as_bytes());
    Ok(format!("{VERSION}.{claim}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// The text of a body's hash in a claim.
pub fn body_hash(body: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, body).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A claim that was taken, and the drill it belongs to.
pub(crate) struct Claimed {
    pub(crate) drilling: Arc<Drilling>,
    pub(crate) call: DrillCall,
}

/// Takes the claim of a request, if it makes one.
pub(crate) fn claim(
    gateway: &Gateway,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Option<Claimed>, Stop> {
    let mut values = headers.get_all(&HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let refused = || Stop::because(Refusal::MalformedCredential, REFUSED);
    if values.next().is_some() {
        return Err(refused());
    }
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let claimed = value.to_str().ok().and_then(|value| read(gateway, method, target, value));
    claimed.map(Some).ok_or_else(refused)
}

fn read(gateway: &Gateway, method: &Method, target: &str, value: &str) -> Option<Claimed> {
    let (claim, tag) = value.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')?;
    let call: DrillCall = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claim).ok()?).ok()?;
    let drilling = gateway.drills.running(call.drill)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    hmac::verify(&drilling.signer, message(method, target, claim).as_bytes(), &tag).ok()?;
    if gateway.now() >= drilling.drill.until {
        return None;
    }
    let mut taken = drilling.taken.lock();
    let is_new = taken.len() < REQUESTS_MAX && taken.insert(call.seq);
    drop(taken);
    is_new.then_some(Claimed { drilling, call })
}

impl Claimed {
    /// The mock behind a provider's name; `None` when the provider was added after the drill began.
    pub(crate) fn provider(&self, name: &str) -> Option<Arc<Provider>> {
        self.drilling.providers.iter().find(|provider| provider.name == name).cloned()
    }

    /// Whether it was signed for this body.
    pub(crate) fn is_for(&self, body: &[u8]) -> bool {
        self.call.body == body_hash(body)
    }

    /// What is claimed of the connection.
    pub(crate) fn head(&self, gateway: &Gateway, open: &mut Open) {
        let address = tokenwatch_model::network::canonical(self.call.source);
        open.context.time = self.call.time;
        open.context.source = Source { address, facts: gateway.facts(address) };
        if let Some(client) = &self.call.client {
            open.context.client = client.clone();
        }
    }

    /// What is claimed of the body.
    pub(crate) fn body(&self, open: &mut Open) {
        if let Some(shape) = self.call.shape {
            open.context.shape = shape;
        }
        if let Some(tokens) = self.call.input_tokens {
            open.context.input_tokens_estimate = tokens;
        }
    }
}

/// Where a drill's events go.
pub(crate) struct Nowhere;

impl EventSink for Nowhere {
    fn push(&self, _: JournalRecord) -> bool {
        true
    }
}
