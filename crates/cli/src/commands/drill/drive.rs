//! Drives one rehearsed theft against a running server: signs, sends, waits where a real clock would have given time, and
//! takes the containment back at the end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http::header::AUTHORIZATION;
use http_body_util::Full;
use indicatif::ProgressBar;
use serde_json::json;
use tokenwatch_console::api::drills::{DrillOut, DrillStarted};
use tokenwatch_gateway::drill::{HEADER, body_hash, sign};
use tokenwatch_model::SmolStr;
use tokenwatch_model::drill::DrillCall;
use tokenwatch_model::event::UsageEvent;
use tokenwatch_model::id::{DrillId, IncidentId};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::outcome::Refusal;
use tokenwatch_model::provider::Dialect;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::Timestamp;
use tokenwatch_testkit::client::LoadClient;
use tokenwatch_testkit::sim::SimRequest;
use tokenwatch_testkit::theft::Theft;
use tokenwatch_testkit::theft::rehearsal::{Played, Rehearsal, RehearsalLimits};
use tokenwatch_wire::price::PriceTable;
use tokio::signal::unix::Signal;

use super::score::{Check, Counts, Ended};
use crate::admin_api::{AskError, Server};

const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is found is acted on within a second; a drill gives that second whenever its own clock has passed it.
pub(super) const REACT_MS: u64 = 1_000;
/// A containment must be taken back within this.
const UNDO_MAX: Duration = Duration::from_secs(1);
/// How long the undo is waited for at all.
const UNDO_WAIT: Duration = Duration::from_secs(5);
/// Requests of the thief's context after the undo, to see that it does not trip again.
const AGAIN: u64 = 5;
/// The first number of requests that are not part of the theft.
pub(super) const ASIDE: u64 = 1 << 32;

/// What every theft of a run is driven with.
pub(super) struct Driver<'a> {
    pub(super) server: &'a Server,
    pub(super) gateway: SocketAddr,
    pub(super) prices: &'a PriceTable,
    pub(super) key: SmolStr,
    /// The provider that the key uses, by name, with its protocol and price list.
    pub(super) provider: SmolStr,
    pub(super) dialect: Dialect,
    pub(super) prices_as: SmolStr,
    /// What was kept of the key's requests, oldest first.
    pub(super) kept: &'a [UsageEvent],
    pub(super) seed: u64,
    pub(super) requests_max: usize,
}

/// What came of one theft.
pub(super) struct Driven {
    pub(super) drill: DrillId,
    pub(super) counts: Counts,
    pub(super) checks: Vec<Check>,
    pub(super) incidents: Vec<IncidentId>,
    pub(super) planned_ms: u64,
    pub(super) rehearsed_ms: u64,
    pub(super) is_cut: bool,
}

pub(super) struct Run<'a> {
    pub(super) driver: &'a Driver<'a>,
    client: LoadClient,
    pub(super) id: DrillId,
    pub(super) secret: Secret,
    /// What its requests present.
    pub(super) credential: Secret,
    counts: Counts,
    /// Whether the thief sent something that may not be acted on yet.
    unsettled: bool,
    pub(super) last_ms: u64,
    incidents: Vec<IncidentId>,
    /// The first of the thief's requests that was refused.
    refused: Option<Played>,
}

impl Driver<'_> {
    /// Rehearses one theft. The drill is ended by [`Driver::end`], once everything about it is known; or at once, by an
    /// interrupt that came since the last one.
    pub(super) async fn rehearse(
        &self,
        theft: Theft,
        pages: bool,
        bar: &ProgressBar,
        interrupts: &mut Signal,
    ) -> anyhow::Result<Driven> {
        let body = json!({ "key": self.key, "theft": theft.name(), "pages": pages, "minutes": 30 });
        let started: DrillStarted = self.server.post("/api/v1/drills", &body).await?;
        let limits = RehearsalLimits { requests_max: self.requests_max };
        let start_ms = started.drill.started.ms();
        let rehearsal = theft.rehearse(self.kept, self.dialect, self.seed, start_ms, limits);
        bar.set_length(rehearsal.played.len() as u64);
        let mut run = Run {
            driver: self,
            client: LoadClient::new(self.gateway, ANSWER_TIMEOUT),
            id: started.drill.id,
            secret: Secret::new(started.secret),
            credential: Secret::new(started.credential),
            counts: Counts::default(),
            unsettled: false,
            last_ms: start_ms,
            incidents: Vec::new(),
            refused: None,
        };
        let driven = tokio::select! {
            driven = run.all(&rehearsal, start_ms, bar) => driven,
            _ = interrupts.recv() => Err(anyhow::anyhow!("interrupted; the drill was ended")),
        };
        if driven.is_err() {
            // It ends by itself later when this fails too.
            let _ = self.end(run.id, false, "broken off: its driver was interrupted or met an error").await;
        }
        driven
    }

    /// Ends a drill and records how it went.
    pub(super) async fn end(&self, id: DrillId, passed: bool, summary: &str) -> Result<DrillOut, AskError> {
        let body = json!({ "passed": passed, "summary": summary });
        self.server.post(&format!("/api/v1/drills/{id}/end"), &body).await
    }

    fn cost(&self, request: &SimRequest) -> NanoUsd {
        let (price, _) = self.prices.find(&self.prices_as, &request.model);
        tokenwatch_wire::price::cost(&request.usage(), &price)
    }
}

impl Run<'_> {
    async fn all(
        &mut self,
        rehearsal: &Rehearsal,
        start_ms: u64,
        bar: &ProgressBar,
    ) -> anyhow::Result<Driven> {
        let mut checks = Vec::new();
        for (number, played) in rehearsal.played.iter().enumerate() {
            self.play(number as u64, played).await?;
            bar.set_position(number as u64 + 1);
        }
        self.settle().await?;
        if let Some(first) = rehearsal.played.first() {
            checks.push(self.forge(first).await?);
        }
        checks.push(self.undo().await?);
        checks.push(self.rotate(rehearsal).await?);
        Ok(Driven {
            drill: self.id,
            counts: self.counts.clone(),
            checks,
            incidents: self.incidents.clone(),
            planned_ms: rehearsal.planned_ms,
            rehearsed_ms: self.last_ms - start_ms,
            is_cut: rehearsal.is_cut,
        })
    }

    async fn play(&mut self, number: u64, played: &Played) -> anyhow::Result<()> {
        let at_ms = played.request.at_ms;
        if self.unsettled && at_ms >= self.last_ms + REACT_MS {
            self.settle().await?;
        }
        let ended = self.send(number, at_ms, played).await?;
        self.last_ms = at_ms;
        if played.request.label.is_theft() {
            let cost =
                if played.request.status == 200 { self.driver.cost(&played.request) } else { NanoUsd::ZERO };
            self.counts.thief(at_ms, ended, cost);
            self.unsettled = true;
            if matches!(ended, Ended::Refused(refusal) if refusal.is_containment()) {
                self.refused.get_or_insert_with(|| played.clone());
            }
        } else {
            self.counts.owner(ended);
        }
        Ok(())
    }

    /// Waits until what was found is acted on, and looks at what came of it.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.unsettled = false;
        let out: DrillOut =
            self.driver.server.post(&format!("/api/v1/drills/{}/settle", self.id), &json!({})).await?;
        for incident in out.incidents.iter().rev() {
            self.counts.detected_ms.get_or_insert(incident.opened.ms());
            if !self.incidents.contains(&incident.id) {
                self.incidents.push(incident.id);
            }
        }
        Ok(())
    }

    pub(super) fn target(&self, played: &Played) -> String {
        format!("/{}{}", self.driver.provider, played.request.path)
    }

    pub(super) fn claim(&self, seq: u64, at_ms: u64, played: &Played) -> DrillCall {
        DrillCall {
            drill: self.id,
            seq,
            time: Timestamp(at_ms * 1_000),
            source: played.request.source,
            client: played.client.clone(),
            shape: played.shape,
            input_tokens: played.input_tokens,
            body: body_hash(&played.request.body).into(),
        }
    }

    async fn send(&self, seq: u64, at_ms: u64, played: &Played) -> anyhow::Result<Ended> {
        let target = self.target(played);
        let claim = sign(&self.secret, &played.request.method, &target, &self.claim(seq, at_ms, played))?;
        self.exchange(played, &target, &claim, &self.credential).await
    }

    pub(super) async fn exchange(
        &self,
        played: &Played,
        target: &str,
        claim: &str,
        credential: &Secret,
    ) -> anyhow::Result<Ended> {
        let request = &played.request;
        let mut builder = Request::builder().method(request.method.clone()).uri(target);
        for (name, value) in request.headers_to_send() {
            builder = builder.header(name, value);
        }
        builder =
            builder.header(&HEADER, claim).header(AUTHORIZATION, format!("Bearer {}", credential.expose()));
        let built = builder.body(Full::new(Bytes::copy_from_slice(&request.body)))?;
        let answer = match self.client.send_http(built).await {
            Ok(answer) => answer,
            Err(error @ tokenwatch_testkit::client::SendError::Connect { .. }) => {
                return Err(error).context("the gateway does not answer; --gateway names where it is");
            }
            Err(_) => return Ok(Ended::Failed),
        };
        let code = answer.header(HEADER.as_str());
        Ok(match code.map(Refusal::from_code) {
            Some(Some(refusal)) => Ended::Refused(refusal),
            // A claim that is not taken is refused like any bad credential.
            None if answer.status.as_u16() == 401 => Ended::Refused(Refusal::MalformedCredential),
            None if answer.status.is_server_error() => Ended::Failed,
            _ => Ended::Served,
        })
    }

    /// Tries to get in with a claim that somebody else signed, and with one that was taken before.
    async fn forge(&self, first: &Played) -> anyhow::Result<Check> {
        let (method, target) = (&first.request.method, self.target(first));
        let at_ms = first.request.at_ms;
        let other = Secret::new("somebody else's");
        let forged = sign(&other, method, &target, &self.claim(ASIDE, at_ms, first))?;
        let forged = self.exchange(first, &target, &forged, &self.credential).await?;
        let again = sign(&self.secret, method, &target, &self.claim(0, at_ms, first))?;
        let again = self.exchange(first, &target, &again, &self.credential).await?;
        let is_refused = |ended| ended == Ended::Refused(Refusal::MalformedCredential);
        let is_good = is_refused(forged) && is_refused(again);
        let what = if is_good {
            "a claim signed by somebody else and one sent twice were refused"
        } else {
            "a forged or repeated claim was taken"
        };
        Ok(Check::new("unforgeable", is_good, what))
    }

    /// Takes the containment back as a person would, and asks from the thief's place again.
    async fn undo(&mut self) -> anyhow::Result<Check> {
        let Some(refused) = self.refused.take() else {
            return Ok(Check::skipped("undone", "nothing was refused that could be let in again"));
        };
        let began = Instant::now();
        for incident in &self.incidents {
            let dismissed: Result<serde_json::Value, AskError> =
                self.driver.server.post(&format!("/api/v1/incidents/{incident}/dismiss"), &json!({})).await;
            // One that the thief's coming back closed or merged needs no closing.
            if let Err(error) = dismissed
                && !matches!(error, AskError::Refused(_))
            {
                return Err(error.into());
            }
        }
        let mut seq = ASIDE + 1;
        let at_ms = self.last_ms + REACT_MS;
        let undone = loop {
            let ended = self.send(seq, at_ms, &refused).await?;
            seq += 1;
            if !matches!(ended, Ended::Refused(_)) {
                break Some(began.elapsed());
            }
            if began.elapsed() > UNDO_WAIT {
                break None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let Some(took) = undone else {
            let what = "closing the incident as \"it was us\" did not let its context in";
            return Ok(Check::new("undone", false, what));
        };
        let mut tripped = 0;
        for again in 0..AGAIN {
            let ended = self.send(seq + again, at_ms + (again + 1) * REACT_MS, &refused).await?;
            tripped += u64::from(matches!(ended, Ended::Refused(_)));
        }
        let what = format!(
            "closed as \"it was us\": its context was let in after {} ms, and {} of {AGAIN} later requests were refused",
            took.as_millis(),
            tripped
        );
        Ok(Check::new("undone", took <= UNDO_MAX && tripped == 0, what))
    }
}
