//! Checkpoint plus the journal after it is the live state, wherever the process was killed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokenwatch_gateway::Gateway;
use tokenwatch_model::containment::{Action, ContextMatch};
use tokenwatch_model::event::JournalRecord;
use tokenwatch_model::finding::{Feedback, Says};
use tokenwatch_model::id::KeyId;
use tokenwatch_model::key::{KeyState, Policy};
use tokenwatch_model::limit::{Budgets, Limits};
use tokenwatch_model::money::NanoUsd;
use tokenwatch_model::secret::Secret;
use tokenwatch_model::time::{HOUR, Timestamp};
use tokenwatch_testkit::rng::Rng;

use crate::rig::{NOON, OUTPUT, Rig, chat, error_code, eventually, key_entry, key_id, post, rig};

const CHAT: &str = "/v1/chat/completions";
const KEYS: u64 = 4;

/// Stored checkpoints by key.
type Saved = BTreeMap<KeyId, Vec<u8>>;

fn policy() -> Policy {
    Policy {
        limits: Limits { requests_per_minute: Some(25), concurrency: Some(6), ..Limits::default() },
        budgets: Budgets { month: Some(NanoUsd(400_000 * OUTPUT)), ..Budgets::default() },
        ..Policy::default()
    }
}

fn save(gateway: &Gateway, saved: &mut Saved) {
    saved.extend(gateway.live.take_checkpoints().into_iter().map(|(key, _, bytes)| (key, bytes)));
}

/// A process that starts on what another left behind.
fn restart(saved: &Saved, journal: &[JournalRecord], now: Timestamp) -> Arc<Gateway> {
    let gateway = Rig::bare(now);
    for n in 1..=KEYS {
        gateway.live.put_key(key_entry(n, 1, KeyState::Active, None, policy()).1, now);
    }
    for record in journal {
        if let Some(key) = gateway.live.needs_loading(record) {
            match saved.get(&key) {
                Some(bytes) => gateway.live.restore(key, bytes).unwrap(),
                None => gateway.live.begin(key),
            }
        }
        gateway.live.replay(record);
    }
    gateway
}

/// A place where the process may be killed: what was saved, and the journal's length before it was saved.
struct KillPoint {
    saved: Saved,
    journal_before: usize,
}

struct Life {
    rig: Rig,
    secrets: Vec<Secret>,
    rng: Rng,
    saved: Saved,
    kill_points: Vec<KillPoint>,
    sent: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let rig = rig();
        let secrets = (1..=KEYS).map(|n| rig.add_key(n, policy())).collect();
        Self { rig, secrets, rng: Rng::new(seed), saved: Saved::new(), kill_points: Vec::new(), sent: 0 }
    }

    /// One request somewhere between harmless and broken; runs beside the others.
    fn send(&mut self) -> tokio::task::JoinHandle<()> {
        self.sent += 1;
        let rng = &mut self.rng;
        let secret = self.secrets[rng.below(KEYS) as usize].expose().to_owned();
        let stream = rng.chance(0.4);
        let tokens = rng.range(1, 300);
        let body = chat(&json!({"stream": stream, "max_tokens": tokens}));
        let delay = rng.below(25).to_string();
        let from = *rng.pick(&["198.51.100.7", "198.51.100.8", "203.0.113.9"]);
        let fail = *rng.pick(&["", "", "", "", "500", "429", "reset", "reset-after=300", "short-body"]);
        let output = rng.range(1, tokens).to_string();
        let client = *rng.pick(&["OpenAI/Python 1.99.1", "curl/8.5.0"]);
        let mut headers = vec![
            ("x-mock-delay-ms", delay.as_str()),
            ("x-mock-output-tokens", &output),
            ("x-forwarded-for", from),
            ("user-agent", client),
        ];
        if !fail.is_empty() {
            headers.push(("x-mock-fail", fail));
        }
        let path = if rng.chance(0.05) { "/v1/../v1" } else { CHAT };
        let request = post(path, &body, &secret, &headers);
        let client = self.rig.client.clone();
        // However it ends: the events are compared, not the answers.
        self.rig.handle().spawn(async move { drop(client.send_lossy(request).await) })
    }

    fn say(&mut self) {
        let asn = Some(if self.rng.chance(0.5) { 64_500 } else { 64_666 });
        let now = self.rig.clock_now();
        let says = if self.rng.chance(0.5) { Says::Ours { until: now.plus(24 * HOUR) } } else { Says::Theft };
        let key = key_id(1 + self.rng.below(KEYS));
        let context = ContextMatch { asn, ..ContextMatch::default() };
        self.rig.gateway.tell_engine(&Feedback { key, time: now, context, says });
    }

    /// Saves while requests are in flight, as far as some are.
    fn checkpoint(&mut self) {
        let (rig, sent) = (&self.rig, self.sent);
        let known = || rig.memory.events().len() as u64 + rig.gateway.live.totals().in_flight;
        eventually("what was sent is admitted", || known() >= sent);
        let journal_before = self.rig.memory.records().len();
        save(&self.rig.gateway, &mut self.saved);
        self.kill_points.push(KillPoint { saved: self.saved.clone(), journal_before });
    }

    fn live(&mut self, steps: usize) {
        let mut running: Vec<tokio::task::JoinHandle<()>> = Vec::new();
        for _ in 0..steps {
            match self.rng.below(12) {
                0 => self.checkpoint(),
                1 => self.say(),
                // Whole minutes: times stay far from the edges of windows, which the duration of a request could cross.
                2 => self.rig.clock.advance(*self.rng.pick(&[60, 120, 3_600, 86_400])),
                3 => self.rig.contain(
                    1 + self.rng.below(KEYS),
                    self.rng.below(5),
                    1,
                    Action::RefuseContext(ContextMatch { asn: Some(64_666), ..ContextMatch::default() }),
                ),
                4 => running.drain(..).for_each(|task| self.rig.run(task).unwrap()),
                _ => running.push(self.send()),
            }
        }
        running.drain(..).for_each(|task| self.rig.run(task).unwrap());
        eventually("nothing is in flight", || self.rig.gateway.live.totals().in_flight == 0);
    }

    /// Brings every window of every key to the same time, so that equal states are equal bytes.
    fn settle(&mut self) {
        // The minute before still counts, and so must be the same too.
        self.rig.clock.advance(60);
        for secret in &self.secrets {
            let request = post(CHAT, &chat(&json!({"max_tokens": 5})), secret.expose(), &[]);
            let answer = self.rig.run(self.rig.client.send_http(request)).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        eventually("nothing is in flight", || self.rig.gateway.live.totals().in_flight == 0);
    }
}

/// Lives through `steps` of random traffic; a process killed at any checkpoint, or that saved nothing at all,
/// comes back with the same bytes.
#[track_caller]
fn check(seed: u64, steps: usize) {
    let mut life = Life::new(seed);
    life.kill_points.push(KillPoint { saved: Saved::new(), journal_before: 0 });
    life.live(steps);
    life.settle();
    let journal = life.rig.memory.records();
    let mut at_end = life.saved.clone();
    save(&life.rig.gateway, &mut at_end);
    let now = life.rig.clock_now();
    for KillPoint { saved, journal_before } in &life.kill_points {
        // The journal is read from a place before the checkpoint: what it covers must not count twice.
        let from = journal_before.saturating_sub(9);
        let restarted = restart(saved, &journal[from..], now);
        let mut again = saved.clone();
        save(&restarted, &mut again);
        for (key, bytes) in &at_end {
            let (was, is) = (life.rig.gateway.live.view_key(*key, now), restarted.live.view_key(*key, now));
            let spent = |view: &Option<tokenwatch_gateway::live::KeyView>| view.as_ref().unwrap().spent_month;
            assert_eq!(spent(&is), spent(&was), "money, seed {seed}, from {from}");
            assert!(
                again.get(key) == Some(bytes),
                "state of {key}, seed {seed}, from {from} of {}",
                journal.len()
            );
        }
    }
}

#[test]
fn checkpoint_and_journal_are_the_live_state() {
    for seed in 0..8 {
        check(seed, 120);
    }
}

#[test]
fn a_state_is_rebuilt_from_events_and_what_was_said() {
    let mut life = Life::new(7);
    life.live(120);
    life.settle();
    let journal = life.rig.memory.records();
    let now = life.rig.clock_now();
    let (mut was, mut is) = (Saved::new(), Saved::new());
    save(&life.rig.gateway, &mut was);
    let fresh = Rig::bare(now);
    for n in 1..=KEYS {
        fresh.live.put_key(key_entry(n, 1, KeyState::Active, None, policy()).1, now);
        let mut rebuild = fresh.live.rebuild(key_id(n)).unwrap();
        for record in &journal {
            match record {
                JournalRecord::Usage(event) => rebuild.take(event),
                JournalRecord::Feedback { key_seq, feedback } if feedback.key == key_id(n) => {
                    rebuild.pass(*key_seq);
                    rebuild.hear(feedback);
                }
                JournalRecord::Feedback { .. }
                | JournalRecord::Finding(_)
                | JournalRecord::Suppressed { .. } => {}
            }
        }
        rebuild.finish();
    }
    save(&fresh, &mut is);
    assert!(was == is && was.len() as u64 == KEYS);
    // What the journal still offers is known.
    for record in &journal {
        assert!(fresh.live.replay(record));
    }
    let mut again = Saved::new();
    save(&fresh, &mut again);
    assert!(again.is_empty(), "nothing changed");
    assert!(fresh.live.rebuild(key_id(KEYS + 1)).is_none());
}

#[test]
fn replaying_twice_changes_nothing() {
    let mut life = Life::new(99);
    life.live(60);
    life.settle();
    let journal = life.rig.memory.records();
    let now = life.rig.clock_now();
    let once = restart(&Saved::new(), &journal, now);
    let twice = restart(&Saved::new(), &[journal.clone(), journal].concat(), now);
    let (mut a, mut b) = (Saved::new(), Saved::new());
    save(&once, &mut a);
    save(&twice, &mut b);
    assert!(a == b && !a.is_empty());
}

#[test]
fn a_process_that_takes_over_follows_what_the_old_one_still_writes() {
    let mut old = Life::new(5);
    old.live(40);
    let journal = old.rig.memory.records();
    let now = old.rig.clock_now().plus(1_000_000);
    let fresh = restart(&Saved::new(), &journal, now);
    // The old process drains: it writes on, and the new one reads on.
    old.live(40);
    let all = old.rig.memory.records();
    for record in &all[journal.len()..] {
        if let Some(key) = fresh.live.needs_loading(record) {
            fresh.live.begin(key);
        }
        fresh.live.replay(record);
    }
    let spent: NanoUsd = old.rig.memory.events().iter().map(|event| event.cost).sum();
    assert!(spent > NanoUsd::ZERO);
    let now = old.rig.clock_now();
    for n in 1..=KEYS {
        let month = |gateway: &Gateway| gateway.live.view_key(key_id(n), now).unwrap().spent_month;
        assert_eq!(month(&fresh), month(&old.rig.gateway));
    }
}

#[test]
fn an_idle_key_is_dropped_and_loaded_again_with_its_money() {
    let rig = rig();
    let budget = NanoUsd(30 * OUTPUT);
    let budgets = Budgets { total: Some(budget), ..Budgets::default() };
    let secret = rig.add_key(1, Policy { budgets, ..Policy::default() });
    let ask = || {
        let mock = [("x-mock-input-tokens", "1")];
        rig.run(rig.client.send_http(post(CHAT, &chat(&json!({"max_tokens": 20})), secret.expose(), &mock)))
            .unwrap()
    };
    assert_eq!(ask().status, 200);
    rig.events(1);
    let later = NOON.plus(2 * HOUR);
    assert_eq!(rig.gateway.live.evict(later), 0, "what is not saved stays");
    // Taken, but then the disk is full.
    let taken = rig.gateway.live.take_checkpoints();
    rig.gateway.live.mark_unsaved(taken.into_iter().map(|(key, ..)| key));
    assert_eq!(rig.gateway.live.evict(later), 0, "what could not be saved stays");
    for (key, _, bytes) in rig.gateway.live.take_checkpoints() {
        rig.memory.states.lock().unwrap().insert(key, Ok(bytes));
    }
    assert_eq!(rig.gateway.live.evict(NOON), 0, "what was just used stays");
    assert_eq!(rig.gateway.live.evict(later), 1);
    assert_eq!(error_code(&ask().body), "budget_total");
    let view = rig.gateway.live.view_key(key_id(1), NOON).unwrap();
    assert_eq!(view.spent_month, rig.memory.events()[0].cost);
}
