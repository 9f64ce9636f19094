//! Alerts, assembled: from configuration to routes and destinations, and from what is stored to a message.

pub(crate) mod deliver;
pub(crate) mod host;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokenwatch_console::alerts::Ways;
use tokenwatch_console::links::Issuer;
use tokenwatch_model::SmolStr;
use tokenwatch_model::alarm::{Alarm, Spender};
use tokenwatch_model::alert::{AlertCause, Message, StoredAlert, Subject};
use tokenwatch_model::id::IncidentId;
use tokenwatch_model::incident::Incident;
use tokenwatch_model::key::Key;
use tokenwatch_model::owner::Owner;
use tokenwatch_model::ports::Random;
use tokenwatch_model::provider::SecretRef;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::{HOUR, Timestamp};
use tokenwatch_outside::{Carrier, MailServer, MailTls, Trust};
use tokenwatch_respond::alert::references::Cites;
use tokenwatch_respond::alert::render::{self, Format, render};
use tokenwatch_respond::alert::route::{Route, Routing, Whose};
use tokenwatch_respond::alert::{About, Alert, Approval, Background, approvable};
use tokenwatch_respond::runbook::{self, Facts, StepRule};
use tokenwatch_store::Store;

use crate::build::read_secret;
use crate::config::{Config, Destination};

/// How far apart two incidents may have been opened to be told of together.
const BESIDE: u64 = HOUR;
/// Where PagerDuty and Opsgenie are, unless configured otherwise.
const PAGERDUTY: &str = "https://events.pagerduty.com";
const OPSGENIE: &str = "https://api.opsgenie.com";

/// Who is told, and how: a configuration, ready for use.
pub(crate) struct Desk {
    pub(crate) routes: Vec<Route>,
    pub(crate) destinations: BTreeMap<SmolStr, Ready>,
    names: Vec<SmolStr>,
    link: Option<String>,
    runbook: Option<String>,
    /// The steps of every incident's runbook.
    steps: Vec<StepRule>,
    /// Makes signed links, where they are switched on.
    issuer: Option<Issuer>,
    /// Who gets them.
    approvers: Vec<SmolStr>,
}

/// What receivers are for people: only they get signed links unless others are named.
const PERSONS: [Format; 5] =
    [Format::Slack, Format::Teams, Format::PagerDuty, Format::Opsgenie, Format::Email];

/// A destination. Its secrets are read anew for every try, so that one that was replaced is used at once.
pub(crate) struct Ready {
    pub(crate) format: Format,
    config: Destination,
    trust: Result<Trust, String>,
}

impl Desk {
    /// Makes a desk of a configuration that was checked. Without the key that signs them it sends no links.
    pub(crate) fn new(config: &Config, links_key: Option<&[u8; 32]>) -> Self {
        let alerts = &config.alerts;
        let ready = |(name, config): (&SmolStr, &Destination)| {
            let format = Format::from_name(&config.kind)?;
            let trust = trust(config.ca_file.as_deref()).map_err(|error| format!("{error:#}"));
            Some((name.clone(), Ready { format, config: config.clone(), trust }))
        };
        let destinations: BTreeMap<SmolStr, Ready> = alerts.destinations.iter().filter_map(ready).collect();
        let approval = &alerts.approval;
        let issuer = approval
            .address
            .as_deref()
            .zip(links_key)
            .map(|(address, key)| Issuer::new(key, address, approval.valid_s, &approval.steps));
        let for_people = destinations.iter().filter(|(_, ready)| PERSONS.contains(&ready.format));
        let approvers = match approval.to.as_slice() {
            [] => for_people.map(|(name, _)| name.clone()).collect(),
            named => named.to_vec(),
        };
        Self {
            steps: config.containment.steps(),
            issuer,
            approvers,
            routes: alerts.routes.clone(),
            names: destinations.keys().cloned().collect(),
            destinations,
            link: alerts.links.link.clone(),
            runbook: alerts.links.runbook.clone(),
        }
    }

    /// Where alerts lead, for whoever wants to try.
    fn ways(&self) -> Ways {
        Ways { routes: self.routes.clone(), destinations: self.names.clone() }
    }

    /// The routes with what they can lead to.
    pub(crate) fn routing(&self) -> Routing<'_> {
        Routing { routes: &self.routes, destinations: &self.names }
    }

    /// Reads signed links, where they are switched on.
    pub(crate) const fn issuer(&self) -> Option<&Issuer> {
        self.issuer.as_ref()
    }

    /// Signed links for the steps that an alert leaves to a person.
    fn approvals(
        &self,
        to: &SmolStr,
        incident: &Incident,
        cause: AlertCause,
        sending: &Sending<'_>,
    ) -> Vec<Approval> {
        let issuer = self.issuer.as_ref().filter(|_| self.approvers.contains(to));
        let (Some(issuer), Some(random)) = (issuer, sending.links) else { return Vec::new() };
        let mint = |action| issuer.mint(incident.id, action, to, random.next_u64(), sending.now);
        approvable(incident, cause).iter().filter_map(mint).collect()
    }

    /// An alert as a destination gets it.
    pub(crate) fn render(
        &self,
        (name, to): (&SmolStr, &Ready),
        stored: &StoredAlert,
        cause: AlertCause,
        story: &Story<'_>,
        sending: &Sending<'_>,
    ) -> (String, Message) {
        let alert = match story {
            Story::Incident(incident, case) => self.of_incident(name, stored, incident, cause, case, sending),
            Story::Alarm(alarm, spending) => {
                let background = Background {
                    key: spending.key.as_ref(),
                    owner: spending.owner.as_ref(),
                    link: self.link.as_deref(),
                    runbook: self.runbook.as_deref(),
                    cites: &cites,
                };
                Alert::of_alarm(alarm, stored.sequence, &background)
            }
        };
        let carrier = match &to.config {
            Destination { syslog: Some(_), .. } => render::Carrier::Syslog,
            Destination { file: Some(_), .. } => render::Carrier::File,
            config => render::Carrier::Http(config.scheme.to_string()),
        };
        let message = render(&alert, to.format, &carrier, env!("CARGO_PKG_VERSION"));
        (alert.id, message)
    }

    fn of_incident(
        &self,
        to: &SmolStr,
        stored: &StoredAlert,
        incident: &Incident,
        cause: AlertCause,
        case: &Case,
        sending: &Sending<'_>,
    ) -> Alert {
        let facts = Facts {
            incident,
            key: &case.key,
            owner: case.owner.as_ref(),
            containments: &case.containments,
            created: None,
            now: stored.time,
        };
        let steps = match cause {
            AlertCause::Test => Vec::new(),
            _ => runbook::steps(&self.steps, &facts),
        };
        let about = About {
            key: &case.key,
            owner: case.owner.as_ref(),
            containments: &case.containments,
            steps: &steps,
            beside: &case.beside,
            link: self.link.as_deref(),
            runbook: self.runbook.as_deref(),
            approvals: &self.approvals(to, incident, cause, sending),
            cites: &cites,
        };
        Alert::new(stored, incident, cause, &about)
    }
}

/// When an alert is sent, and what numbers its links. Without that it carries none: whoever has one can decide.
pub(crate) struct Sending<'a> {
    pub(crate) now: Timestamp,
    pub(crate) links: Option<&'a dyn Random>,
}

/// What an alert is told with besides its incident.
pub(crate) struct Case {
    pub(crate) key: Key,
    pub(crate) owner: Option<Owner>,
    pub(crate) containments: Vec<tokenwatch_model::containment::Containment>,
    /// Incidents on other keys of the owner that were opened within an hour of this one, with the keys' names.
    pub(crate) beside: Vec<(IncidentId, SmolStr)>,
}

/// Whose spend a billing alarm is about, as far as it is still there.
pub(crate) struct Spending {
    pub(crate) key: Option<Key>,
    pub(crate) owner: Option<Owner>,
}

/// What an alert is about and what it is told with, as it is now.
pub(crate) enum Story<'a> {
    Incident(&'a Incident, Box<Case>),
    Alarm(&'a Alarm, Box<Spending>),
}

impl<'a> Story<'a> {
    pub(crate) fn load(store: &Store, subject: &'a Subject) -> anyhow::Result<Self> {
        match subject {
            Subject::Incident(incident) => {
                Ok(Self::Incident(incident, Box::new(Case::load(store, incident)?)))
            }
            Subject::Alarm(alarm) => Ok(Self::Alarm(alarm, Box::new(Spending::load(store, alarm)?))),
        }
    }

    /// Whom routes ask for.
    pub(crate) fn whose(&self) -> Whose<'_> {
        let (key, owner) = match self {
            Self::Incident(_, case) => (Some(&case.key), case.owner.as_ref()),
            Self::Alarm(_, spending) => (spending.key.as_ref(), spending.owner.as_ref()),
        };
        Whose { environment: key.map(|key| &key.environment), owner }
    }
}

impl Spending {
    fn load(store: &Store, alarm: &Alarm) -> anyhow::Result<Self> {
        let (key, owner) = match &alarm.spender {
            Spender::Key(id) => {
                let key = store.key(*id)?.map(|stored| stored.key);
                let owner = key.as_ref().and_then(|key| key.owner);
                (key, owner)
            }
            Spender::Owner(id) => (None, Some(*id)),
            Spender::Provider(_) => (None, None),
        };
        Ok(Self { key, owner: owner.map(|id| store.owner(id)).transpose()?.flatten() })
    }
}

impl Case {
    /// The key of an incident, its owner and containments, as they are now.
    fn load(store: &Store, incident: &Incident) -> anyhow::Result<Self> {
        let id = incident.key;
        let key = store.key(id)?.with_context(|| format!("there is no key {id}"))?.key;
        let owner = key.owner.map(|owner| store.owner(owner)).transpose()?.flatten();
        // A drill's incident stands alone: what it would stand beside is real.
        let beside = match &owner {
            Some(owner) if !incident.drill => store.incidents_beside(incident, owner.id, BESIDE)?,
            _ => Vec::new(),
        };
        Ok(Self { containments: store.containments_of(id)?, beside, key, owner })
    }
}

/// An escalation tells how its incident stands when it is sent, not when it was planned. An alarm stays as it was raised.
fn bring_up_to_date(store: &Store, stored: &mut StoredAlert) -> anyhow::Result<()> {
    if let Subject::Incident(known) = &mut stored.subject
        && let Some(incident) = store.incident(known.id)?
    {
        **known = incident;
    }
    Ok(())
}

/// What a rule is called and cites, from the catalogue of the detectors.
fn cites(rule: &str) -> Option<Cites> {
    let about = tokenwatch_detect::catalogue().into_iter().find(|about| about.id == rule)?;
    Some(Cites { title: about.title, atlas: about.atlas, owasp: about.owasp, nist: about.nist })
}

impl Ready {
    /// The way there, with its secrets.
    pub(crate) fn way(&self) -> anyhow::Result<tokenwatch_outside::Destination> {
        let trust = self.trust.clone().map_err(|error| anyhow::anyhow!(error))?;
        let timeout = Duration::from_secs(self.config.timeout_s);
        Ok(tokenwatch_outside::Destination { carrier: self.carrier()?, timeout, trust })
    }

    fn carrier(&self) -> anyhow::Result<Carrier> {
        let config = &self.config;
        let read = |reference: &Option<SecretRef>| reference.as_ref().map(read_secret).transpose();
        let secret = read(&config.secret)?;
        if let Some(place) = &config.syslog {
            let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
            return Ok(Carrier::Syslog { place: place.parse()?, host });
        }
        if let Some(path) = &config.file {
            return Ok(Carrier::File(path.clone()));
        }
        if self.format == Format::Email {
            return Ok(Carrier::Mail(Box::new(mail_server(config, secret))));
        }
        let usual = match self.format {
            Format::PagerDuty => PAGERDUTY,
            Format::Opsgenie => OPSGENIE,
            _ => "",
        };
        let url = match read(&config.url)? {
            Some(url) => url,
            None => Secret::new(config.api.as_deref().unwrap_or(usual)),
        };
        Ok(Carrier::Http { url, secret })
    }
}

/// The mail server of a destination.
pub(crate) fn mail_server(config: &Destination, password: Option<Secret>) -> MailServer {
    let (host, port) = config.server.as_deref().and_then(|s| s.rsplit_once(':')).unwrap_or_default();
    MailServer {
        host: host.to_owned(),
        port: port.parse().unwrap_or(0),
        tls: match config.tls.as_str() {
            "implicit" => MailTls::Implicit,
            "off" => MailTls::Off,
            _ => MailTls::StartTls,
        },
        login: config.user.clone().zip(password),
        from: config.from.clone().unwrap_or_default(),
        to: config.to.clone(),
    }
}

fn trust(own: Option<&Path>) -> anyhow::Result<Trust> {
    let Some(path) = own else { return Ok(Trust::new(None)?) };
    let pem = std::fs::read(path).with_context(|| format!("ca_file {} can not be read", path.display()))?;
    Trust::new(Some(&pem)).with_context(|| format!("ca_file {}", path.display()))
}
