//! The containments of one key as the request path knows them: of each the newest revision, in force or just ended.
//!
//! Invariant: a newer revision always wins, however late an older one is put in: who read the store before a
//! containment was lifted can not put it back in force. What has ended long ago is forgotten, and then it is the
//! highest revision forgotten that keeps it out. That shuts out nothing that is in force: whoever knew that revision
//! had read every containment of the key as of then, so what is older and in force is known.

use std::collections::HashMap;

use tokenwatch_model::containment::Containment;
use tokenwatch_model::time::{HOUR, Timestamp};

/// How long a containment that has ended is remembered by itself.
const ENDED_KEPT: u64 = HOUR;

/// The containments of one key.
#[derive(Default)]
pub(crate) struct Contained {
    known: Box<[Containment]>,
    /// The highest revision of those that are no longer remembered by themselves.
    forgotten: u64,
}

impl Contained {
    /// Those known, in force or not, oldest first.
    pub(crate) fn known(&self) -> &[Containment] {
        &self.known
    }

    /// Takes in what somebody read from the store: all containments of the key, or those that changed.
    pub(crate) fn take(&mut self, read: Vec<Containment>, now: Timestamp) {
        let known = std::mem::take(&mut self.known).into_vec();
        let mut newest: HashMap<_, Containment> = known.into_iter().map(|c| (c.id, c)).collect();
        for containment in read {
            let is_newer = match newest.get(&containment.id) {
                Some(old) => old.revision <= containment.revision,
                None => containment.revision > self.forgotten,
            };
            if is_newer {
                newest.insert(containment.id, containment);
            }
        }
        let mut forgotten = self.forgotten;
        newest.retain(|_, containment| {
            let keeps = containment.in_force(now) || ended_lately(containment, now);
            if !keeps {
                forgotten = forgotten.max(containment.revision);
            }
            keeps
        });
        let mut known: Vec<Containment> = newest.into_values().collect();
        known.sort_by_key(|c| (c.created, c.id));
        (self.known, self.forgotten) = (known.into(), forgotten);
    }
}

fn ended_lately(containment: &Containment, now: Timestamp) -> bool {
    let ended = containment.lifted.as_ref().map(|(at, _)| *at).or(containment.expires);
    ended.is_some_and(|ended| now < ended.plus(ENDED_KEPT))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tokenwatch_model::containment::Action;
    use tokenwatch_model::id::{ContainmentId, KeyId};
    use tokenwatch_model::time::MINUTE;

    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

    /// What happens to one key, by whom.
    #[derive(Clone, Debug)]
    enum Step {
        /// Somebody puts a containment in force, or prolongs one, for so many minutes; 0 is until it is lifted.
        Contain(u64, u64),
        /// Somebody lifts one.
        Lift(u64),
        /// What changed since the last time is followed.
        Follow,
        /// Somebody puts in what it read so many changes ago.
        Late(usize),
        /// Minutes go by.
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4u64, 0..200u64).prop_map(|(id, minutes)| Step::Contain(id, minutes)),
            (0..4u64).prop_map(Step::Lift),
            Just(Step::Follow),
            (0..12usize).prop_map(Step::Late),
            (1..150u64).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..60)
    }

    fn in_force(containments: &[Containment], now: Timestamp) -> BTreeMap<ContainmentId, u64> {
        containments.iter().filter(|c| c.in_force(now)).map(|c| (c.id, c.revision)).collect()
    }

    /// The rows of one key after each change.
    struct Rows(Vec<BTreeMap<u64, Containment>>);

    impl Rows {
        fn change(&mut self, id: u64, now: Timestamp, change: impl FnOnce(&mut Containment)) {
            let mut rows = self.0.last().cloned().unwrap_or_default();
            let row = rows.entry(id).or_insert_with(|| Containment {
                id: ContainmentId::from_bits(id),
                key: KeyId::from_bits(1),
                incident: None,
                action: Action::Suspend,
                reason: "test".to_owned(),
                created: now,
                expires: None,
                lifted: None,
                revision: 0,
            });
            change(row);
            row.revision = self.0.len() as u64;
            self.0.push(rows);
        }

        fn read(&self, changes_ago: usize) -> Vec<Containment> {
            let at = self.0.len().saturating_sub(1 + changes_ago);
            self.0[at].values().cloned().collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whoever reads the store when, and however late it is put in: an older revision never replaces a newer one,
        /// and once everything was followed what is in force is what the store says.
        #[test]
        fn a_newer_revision_always_wins(steps in steps()) {
            let mut now = START;
            let mut rows = Rows(vec![BTreeMap::new()]);
            let mut followed = 0;
            let mut contained = Contained::default();
            // The newest revision of each that was ever put in.
            let mut seen: BTreeMap<ContainmentId, u64> = BTreeMap::new();
            for step in steps.into_iter().chain([Step::Follow]) {
                let read = match step {
                    Step::Wait(minutes) => {
                        now = now.plus(minutes * MINUTE);
                        continue;
                    }
                    Step::Contain(id, minutes) => {
                        rows.change(id, now, |row| {
                            row.expires = (minutes > 0).then(|| now.plus(minutes * MINUTE));
                            row.lifted = None;
                        });
                        continue;
                    }
                    Step::Lift(id) => {
                        rows.change(id, now, |row| row.lifted = Some((now, "test".into())));
                        continue;
                    }
                    Step::Late(changes_ago) => rows.read(changes_ago),
                    Step::Follow => {
                        let since = std::mem::replace(&mut followed, rows.0.len() as u64 - 1);
                        rows.read(0).into_iter().filter(|row| row.revision > since).collect()
                    }
                };
                for row in &read {
                    let newest = seen.entry(row.id).or_default();
                    *newest = row.revision.max(*newest);
                }
                let is_current = read.iter().all(|row| row.revision <= followed) && followed == rows.0.len() as u64 - 1;
                contained.take(read, now);
                for (id, revision) in in_force(contained.known(), now) {
                    prop_assert_eq!(Some(&revision), seen.get(&id), "an older revision is in force");
                }
                if is_current {
                    prop_assert_eq!(in_force(contained.known(), now), in_force(&rows.read(0), now));
                }
            }
        }
    }
}
