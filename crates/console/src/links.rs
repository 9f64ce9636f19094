//! Signed links: one proposed step of one incident, to be taken by whoever got the alert.
//!
//! ```text
//! v1.INCIDENT.STEP.EXPIRES.NONCE.DESTINATION.MAC      MAC: HMAC-SHA-256 over all before it
//! ```
//!
//! Invariants:
//! * A link says exactly what it does and can not be made to say anything else: every part is signed, and there is one
//!   way to write it.
//! * Looking at a link changes nothing; taking the step spends it, in the transaction that takes the step.
//! * It ends by itself, with its incident, and when its step was taken in another way.

use ring::hmac;
use tokenwatch_model::SmolStr;
use tokenwatch_model::containment::Containment;
use tokenwatch_model::handling::LinkUse;
use tokenwatch_model::id::{IncidentId, KeyId};
use tokenwatch_model::time::{SECOND, Timestamp};
use tokenwatch_respond::alert::Approval;
use tokenwatch_respond::words::clock;
use tokenwatch_respond::{Disposition, Effects, Normal, Plan, ResponsePolicy, Step};

use crate::cases::Case;
use crate::manage::Manager;
use crate::records::RecordsError;

/// Where the pages are, below the public address.
pub const PATH: &str = "/approve/";
const VERSION: &str = "v1";
/// So that the key signs nothing that another use of it could be taken for.
const PURPOSE: &str = "tokenwatch approval link";
/// Most spent links remembered with an incident; no incident has so many proposed steps at a time.
const USED_MAX: usize = 256;

/// Makes and reads signed links.
#[derive(Clone)]
pub struct Issuer {
    key: hmac::Key,
    /// The admin API as people reach it.
    address: String,
    valid_us: u64,
    /// Names of the actions that may be taken by a link.
    steps: Vec<SmolStr>,
}

/// What a link says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The incident.
    pub incident: IncidentId,
    /// Name of the proposed action.
    pub step: SmolStr,
    /// When it ends.
    pub expires: Timestamp,
    /// Its number.
    pub nonce: u64,
    /// Whose alert carried it.
    pub destination: SmolStr,
}

/// Why a link is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadLinkError {
    /// It was not made here, or was altered.
    #[error("this is no link of this TokenWatch, or a part of it is missing: copy it whole from the alert")]
    Unknown,
    /// Its time is over.
    #[error("this link ended at {}; a later alert has a new one, or use the command line", clock(*.0))]
    Expired(Timestamp),
    /// The configuration does not allow it any more.
    #[error("{0} may not be approved by a link any more; use the command line")]
    NotAllowed(SmolStr),
}

impl Link {
    fn text(&self) -> String {
        let Self { incident, step, expires, nonce, destination } = self;
        format!("{VERSION}.{incident}.{step}.{}.{nonce:016x}.{destination}", expires.0 / SECOND)
    }

    /// As the audit log names who used it.
    pub fn actor(&self) -> String {
        format!("link:{}", self.destination)
    }
}

impl Issuer {
    /// An issuer with the secret of a state directory.
    pub fn new(secret: &[u8; 32], address: &str, valid_s: u64, steps: &[SmolStr]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            address: address.trim_end_matches('/').to_owned(),
            valid_us: valid_s.saturating_mul(SECOND),
            steps: steps.to_vec(),
        }
    }

    fn signed(text: &str) -> Vec<u8> {
        format!("{PURPOSE}\n{text}").into_bytes()
    }

    /// A link for a proposed action, for one destination; nothing when the action may not be taken by a link.
    pub fn mint(
        &self,
        incident: IncidentId,
        action: &SmolStr,
        destination: &SmolStr,
        nonce: u64,
        now: Timestamp,
    ) -> Option<Approval> {
        if !self.steps.contains(action) {
            return None;
        }
        // Whole seconds, because that is what the link says.
        let expires = Timestamp(now.plus(self.valid_us).0 / SECOND * SECOND);
        let link = Link { incident, step: action.clone(), expires, nonce, destination: destination.clone() };
        let text = link.text();
        let mac = hmac::sign(&self.key, &Self::signed(&text));
        let mac: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Approval { action: action.clone(), url: format!("{}{PATH}{text}.{mac}", self.address), expires })
    }

    /// What a link says, when it was made here and has not ended.
    ///
    /// # Errors
    ///
    /// When it was not, was altered, has ended, or may not be used any more.
    pub fn read(&self, written: &str, now: Timestamp) -> Result<Link, ReadLinkError> {
        let (text, mac) = written.rsplit_once('.').ok_or(ReadLinkError::Unknown)?;
        let mac = unhex(mac).ok_or(ReadLinkError::Unknown)?;
        // Compares in constant time, and before anything of it is looked at.
        hmac::verify(&self.key, &Self::signed(text), &mac).map_err(|_| ReadLinkError::Unknown)?;
        let link = parse(text).filter(|link| link.text() == text).ok_or(ReadLinkError::Unknown)?;
        if link.expires <= now {
            return Err(ReadLinkError::Expired(link.expires));
        }
        if !self.steps.contains(&link.step) {
            return Err(ReadLinkError::NotAllowed(link.step));
        }
        Ok(link)
    }
}

fn parse(text: &str) -> Option<Link> {
    let mut parts = text.split('.');
    let (version, incident, step) = (parts.next()?, parts.next()?, parts.next()?);
    let (expires, nonce, destination) = (parts.next()?, parts.next()?, parts.next()?);
    if version != VERSION || parts.next().is_some() {
        return None;
    }
    Some(Link {
        incident: incident.parse().ok()?,
        step: step.into(),
        expires: Timestamp(expires.parse::<u64>().ok()?.checked_mul(SECOND)?),
        nonce: u64::from_str_radix(nonce, 16).ok()?,
        destination: destination.into(),
    })
}

/// Lower-case digits alone: there is one way to write a link.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 64 || !text.bytes().all(is_digit) {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// What a link would do now.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The incident with its key and owner.
    pub case: Case,
    /// The plan as it would be made now.
    pub plan: Plan,
    /// The step of it that the link takes.
    pub step: Step,
}

fn refused(text: impl Into<String>) -> RecordsError {
    RecordsError::Refused(text.into())
}

impl Manager {
    /// What a link would do now. Changes nothing. `normal` as in [`Manager::plan_again`].
    ///
    /// # Errors
    ///
    /// When the link was used, its incident is closed, or its step is not proposed any more.
    pub fn preview_link(
        &self,
        policy: &ResponsePolicy,
        normal: &dyn Fn(KeyId) -> Result<Option<Normal>, RecordsError>,
        link: &Link,
    ) -> Result<Preview, RecordsError> {
        let id = link.incident.to_string();
        let case = self.case(&id)?;
        if case.incident.handling.links_used.iter().any(|used| used.nonce == link.nonce) {
            return Err(refused("this link was used already: it works once"));
        }
        if !case.incident.state.is_open() {
            let state = case.incident.state.name();
            return Err(refused(format!("the incident {id} is {state} already: nothing is left to approve")));
        }
        let plan = self.plan_again(policy, normal, &id)?;
        let takes = |step: &&Step| step.action.name() == link.step;
        let found = plan.steps.iter().find(takes).cloned();
        let step = found.filter(|step| !step.is_extension()).ok_or_else(|| {
            let now = self.clock.now();
            let is_done = |row: &Containment| row.in_force(now) && row.action.name() == link.step;
            let why = if case.containments.iter().any(is_done) {
                "was done already: it is in force"
            } else {
                "is not proposed any more"
            };
            refused(format!("{} {why}", link.step))
        })?;
        if step.disposition == Disposition::Automatic {
            return Err(refused(format!("{} needs nobody's approval any more", step.what())));
        }
        Ok(Preview { case, plan, step })
    }

    /// Takes the step of a link and spends the link, in one transaction.
    ///
    /// # Errors
    ///
    /// As [`Manager::preview_link`].
    pub fn use_link(
        &self,
        policy: &ResponsePolicy,
        normal: &dyn Fn(KeyId) -> Result<Option<Normal>, RecordsError>,
        link: &Link,
    ) -> Result<Effects, RecordsError> {
        let who = link.actor();
        self.write(|| {
            let Preview { plan, .. } = self.preview_link(policy, normal, link)?;
            let now = self.clock.now();
            let chosen = |step: &Step| step.action.name() == link.step;
            let mut effects = tokenwatch_respond::approve(&plan, chosen, &who, now);
            // Nothing is taken that does not also spend the link.
            let Some(incident) = effects.incident.as_mut() else {
                return Err(refused("nothing was left to do"));
            };
            let used = &mut incident.handling.links_used;
            used.retain(|used| used.expires > now);
            if used.len() >= USED_MAX {
                return Err(refused("too many links of this incident were used; use the command line"));
            }
            used.push(LinkUse { nonce: link.nonce, expires: link.expires });
            Ok(effects)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_772_366_400);

    fn issuer(secret: u8) -> Issuer {
        Issuer::new(&[secret; 32], "https://tw.example.com/", 3_600, &["suspend".into()])
    }

    fn written() -> String {
        let approval =
            issuer(1).mint(IncidentId::from_bits(7), &"suspend".into(), &"pager".into(), 9, NOW).unwrap();
        assert_eq!(approval.expires, NOW.plus(3_600 * SECOND));
        approval.url.strip_prefix("https://tw.example.com/approve/").unwrap().to_owned()
    }

    #[track_caller]
    fn check(written: &str, now: Timestamp, want: Result<&str, &ReadLinkError>) {
        let read = issuer(1).read(written, now);
        assert_eq!(read.as_ref().map(|link| link.step.as_str()), want);
    }

    #[test]
    fn a_link_is_read_as_it_was_written_until_it_ends() {
        let text = written();
        check(&text, NOW, Ok("suspend"));
        let end = NOW.plus(3_600 * SECOND);
        check(&text, Timestamp(end.0 - 1), Ok("suspend"));
        check(&text, end, Err(&ReadLinkError::Expired(end)));
        assert_eq!(issuer(1).read(&text, NOW).unwrap().actor(), "link:pager");
        assert_eq!(issuer(2).read(&text, NOW), Err(ReadLinkError::Unknown), "another installation's");
        let strict = Issuer { steps: vec!["clamp".into()], ..issuer(1) };
        assert_eq!(strict.read(&text, NOW), Err(ReadLinkError::NotAllowed("suspend".into())));
        assert_eq!(issuer(1).mint(IncidentId::from_bits(7), &"revoke".into(), &"pager".into(), 9, NOW), None);
    }

    #[test]
    fn every_altered_character_is_noticed() {
        let text = written();
        for at in 0..text.len() {
            for put in ["0", "a", "A", ".", "%", ""] {
                let mut altered = text.clone();
                altered.replace_range(at..=at, put);
                if altered != text {
                    check(&altered, NOW, Err(&ReadLinkError::Unknown));
                }
            }
        }
        for other in ["", ".", "v1", "v1.x.y.1.2.3.4"] {
            check(other, NOW, Err(&ReadLinkError::Unknown));
        }
        let upper = text.to_uppercase();
        check(&upper, NOW, Err(&ReadLinkError::Unknown));
    }
}
