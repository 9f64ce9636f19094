//! Drives the traffic: requests go out in the order of their times, over HTTP, and the clock follows them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokenwatch_model::money::NanoUsd;
use tokenwatch_testkit::client::{LoadClient, SendError};
use tokenwatch_testkit::persona::Persona;
use tokenwatch_testkit::rng::Rng;
use tokenwatch_testkit::sim::SimRequest;
use tokenwatch_testkit::theft::{Start, Victim};
use tokenwatch_testkit::traffic::{DAY_MS, HISTORY_DAYS, Sample};
use tokenwatch_wire::price::PriceTable;
use tokio::task::JoinHandle;

use super::score::{Alert, Score};
use super::screen::Screen;
use super::world::{Acted, Plan, START_MS, World};

/// Requests whose times lie closer than this may be in flight together, as they would be with real answers.
const OVERLAP_MS: u64 = 500;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const HOUR_MS: u64 = 3_600_000;

/// A request and whose key it uses.
struct Call {
    customer: &'static str,
    request: SimRequest,
}

struct InFlight {
    at_ms: u64,
    call: Call,
    answer: JoinHandle<Result<(u16, Option<String>), SendError>>,
}

/// Runs the whole demo and returns what was counted.
pub(super) fn drive(
    plan: &Plan,
    sample: &Sample,
    world: &World,
    screen: &mut Screen,
) -> anyhow::Result<Score> {
    let personas: BTreeMap<&'static str, Persona> = sample
        .customers()
        .iter()
        .map(|customer| (customer.name, Persona::new(plan.seed, customer.name, customer.workload, START_MS)))
        .collect();
    let mut driver = Driver {
        world,
        client: LoadClient::new(world.address, ANSWER_TIMEOUT),
        in_flight: VecDeque::new(),
        score: Score { seed: plan.seed, victim: plan.victim.clone(), theft: plan.theft, ..Score::default() },
        live: false,
        seen: 0,
    };
    let live_from = START_MS + HISTORY_DAYS * DAY_MS;
    let live_to = live_from + plan.live_hours * HOUR_MS;
    let (history, live) = calls(plan, sample, &personas, live_from, live_to)?;
    screen.start(plan, sample, history.len());
    let started = Instant::now();
    let total = history.len();
    world.runtime.block_on(async {
        for (done, call) in history.into_iter().enumerate() {
            driver.send(call, screen).await;
            if done % 256 == 0 {
                screen.history(done, total, started.elapsed());
            }
        }
        driver.finish(u64::MAX, screen).await;
        screen.history(total, total, started.elapsed());
        driver.live = true;
        driver.play(plan, live, live_from, live_to, screen).await;
    });
    // What the last requests showed is acted on after their answers.
    world.catch_up();
    driver.take_alerts(screen);
    Ok(driver.score)
}

/// History and live part, each in the order of time.
fn calls(
    plan: &Plan,
    sample: &Sample,
    personas: &BTreeMap<&'static str, Persona>,
    live_from: u64,
    live_to: u64,
) -> anyhow::Result<(Vec<Call>, Vec<Call>)> {
    let mut all = Vec::new();
    for customer in sample.customers() {
        let persona = personas.get(customer.name).context("a customer without identity")?;
        let within = customer.rows().partition_point(|row| START_MS + row.t_ms < live_to);
        let rows = customer.rows().get(..within).unwrap_or_default();
        all.extend(persona.requests(rows).map(|request| Call { customer: customer.name, request }));
    }
    if let Some(theft) = plan.theft {
        let customer = sample.customer(&plan.victim).context("no such victim")?;
        let persona = personas.get(customer.name).context("a customer without identity")?;
        let victim = Victim::new(persona, customer.history());
        // The key leaks in the first quarter of the live part.
        let quarter = (live_to - live_from) / 4;
        let leak = live_from + Rng::new(plan.seed).fork("leak").below(quarter);
        let first_call = leak
            + tokenwatch_testkit::theft::leak_to_first_call_ms(&mut Rng::new(plan.seed).fork("delay"))
                .min(quarter);
        let campaign = theft.campaign(&victim, plan.seed, Start::FirstCall(first_call));
        let stolen = campaign.take_while(|request| request.at_ms < live_to);
        all.extend(stolen.map(|request| Call { customer: customer.name, request }));
    }
    // Stable: calls at the same millisecond keep their order, so a seed always gives the same run.
    all.sort_by_key(|call| call.request.at_ms);
    let split = all.partition_point(|call| call.request.at_ms < live_from);
    let live = all.split_off(split);
    Ok((all, live))
}

struct Driver<'a> {
    world: &'a World,
    client: LoadClient,
    in_flight: VecDeque<InFlight>,
    score: Score,
    live: bool,
    /// Alerts taken so far.
    seen: usize,
}

impl Driver<'_> {
    /// The live part at a steady pace, or as fast as it goes.
    async fn play(&mut self, plan: &Plan, live: Vec<Call>, from: u64, to: u64, screen: &mut Screen) {
        let pace = plan.live_seconds / (to - from) as f64;
        let started = Instant::now();
        for call in live {
            let due = Duration::from_secs_f64((call.request.at_ms - from) as f64 * pace);
            while let Some(left) = due.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
                let now = from + (started.elapsed().as_secs_f64() / pace) as u64;
                self.finish(now, screen).await;
                self.take_alerts(screen);
                screen.live(&self.score, now, plan);
                tokio::time::sleep(left.min(Duration::from_millis(50))).await;
            }
            let now = call.request.at_ms;
            self.send(call, screen).await;
            screen.live(&self.score, now, plan);
        }
        self.finish(u64::MAX, screen).await;
        screen.live(&self.score, to, plan);
    }

    async fn send(&mut self, call: Call, screen: &mut Screen) {
        let at_ms = call.request.at_ms;
        self.finish(at_ms.saturating_sub(OVERLAP_MS), screen).await;
        self.world.clock.set(at_ms);
        let Some((_, secret)) = self.world.keys.get(call.customer) else { return };
        let (client, request, secret) = (self.client.clone(), call.request.clone(), secret.clone());
        let answer = tokio::spawn(async move {
            let answer = client.send(&request, &secret).await?;
            Ok((answer.status.as_u16(), answer.header("x-tokenwatch-request-id").map(str::to_owned)))
        });
        self.in_flight.push_back(InFlight { at_ms, call, answer });
    }

    /// Waits for the answers of everything sent before a time.
    async fn finish(&mut self, before_ms: u64, screen: &mut Screen) {
        while self.in_flight.front().is_some_and(|first| first.at_ms <= before_ms) {
            let Some(InFlight { call, answer, .. }) = self.in_flight.pop_front() else { return };
            match answer.await {
                Ok(Ok((status, id))) => self.count(&call, status, id, screen),
                _ => self.score.failures += 1,
            }
        }
    }

    fn count(&mut self, call: &Call, status: u16, id: Option<String>, screen: &mut Screen) {
        let is_refused = matches!(status, 401 | 403 | 429);
        if !self.live {
            self.score.history_requests += 1;
            self.score.history_refused += u64::from(is_refused);
            return;
        }
        self.score.live_requests += 1;
        if call.request.label.is_theft() {
            let is_first = self.score.first_theft_ms.is_none();
            let was_contained = self.score.contained_ms.is_some();
            self.score.count_thief(&call.request, status, cost(&call.request));
            self.score.thief_ids.extend(id);
            if is_first {
                screen.first_theft(&call.request);
            }
            self.take_alerts(screen);
            if !was_contained && self.score.contained_ms.is_some() {
                screen.first_refusal(&call.request, &self.score);
            }
        } else if call.customer == self.score.victim {
            self.score.count_owner(is_refused);
        }
        screen.tick(
            call.request.at_ms,
            call.request.label.is_theft(),
            call.customer == self.score.victim,
            is_refused,
        );
    }

    /// Takes in what the responder did since the last time.
    fn take_alerts(&mut self, screen: &mut Screen) {
        let new: Vec<Acted> = {
            let acted = self.world.acted.lock().unwrap_or_else(PoisonError::into_inner);
            acted.get(self.seen..).unwrap_or_default().to_vec()
        };
        self.seen += new.len();
        for Acted { finding, incident, contained } in new {
            let key =
                self.world.keys.iter().find(|(_, (id, _))| *id == finding.key).map_or("", |(name, _)| name);
            let at_ms = finding.time.ms();
            // True when the thief had begun on this key and at least one event behind it is the thief's.
            let is_true = key == self.score.victim
                && self.score.first_theft_ms.is_some_and(|first| at_ms >= first)
                && (finding.events.is_empty()
                    || finding.events.iter().any(|id| self.score.thief_ids.contains(&id.to_string())));
            if is_true {
                self.score.detected_ms.get_or_insert(at_ms);
            }
            screen.alert(at_ms, key, &finding, incident, &contained, is_true);
            self.score.alerts.push(Alert { at_ms, key, is_true, summary: finding.summary });
        }
    }
}

/// What a served request costs, by the bundled prices.
fn cost(request: &SimRequest) -> NanoUsd {
    let (price, _) = PriceTable::bundled().find(request.dialect.name(), &request.model);
    tokenwatch_wire::price::cost(&request.usage(), &price)
}
