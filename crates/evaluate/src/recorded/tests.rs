//! Tests of recorded worlds: what is clean, what is stolen, and what a thief's events may show.

use tokenwatch_testkit::fleet::{Fleet, FleetOptions};

use super::*;
use crate::plan::{Options, Plan};

/// Days that only teach.
const TEACH: u32 = 7;

/// Some keys of a simulated fleet as somebody would have recorded them.
fn recorded(edit: impl Fn(&mut UsageEvent)) -> Recording {
    let options = FleetOptions { keys_per_client: 1, calls_per_day: (40.0, 80.0), ..FleetOptions::default() };
    let fleet = Fleet::new(4, &options).unwrap();
    let mut events: Vec<(OwnerId, UsageEvent)> = Vec::new();
    for key in fleet.keys().iter().take(6) {
        events.extend(key.events(0, 11).map(|event| (key.owner(), event)));
    }
    events.sort_by_key(|(_, event)| event.request.time);
    let mut recording = Recording::new(HashMap::new(), KeyProfile::default());
    for (owner, mut event) in events {
        edit(&mut event);
        recording.add(event, Some(owner), None);
    }
    recording
}

#[test]
fn keys_are_as_they_were_used() {
    let world = recorded(|_| {}).finish(TEACH, 100).unwrap();
    assert_eq!((world.days(), world.keys().len(), world.clients()), (11, 6, 6));
    assert_eq!(world.columns().missing(), Vec::<&str>::new());
    for key in 0..6 {
        let all = world.events(key, 11);
        assert!(all.is_sorted_by_key(|event| event.request.time));
        assert!(all.iter().zip(1..).all(|(event, seq)| event.key_seq == seq));
        let day = |event: &UsageEvent| event.request.time.day() - world.start().day();
        let some = world.events(key, 3);
        assert_eq!(some[..], all[..some.len()]);
        assert!(some.iter().all(|event| day(event) < 3));
    }
    let plan = Plan::new(&world, &Options::default());
    assert_eq!((plan.calibration.len(), plan.test.len()), (3, 3));
}

#[test]
fn every_theft_can_be_put_on_every_key() {
    let world = recorded(|_| {}).finish(TEACH, 50).unwrap();
    let (start, end) = (world.start().plus(8 * DAY), world.start().plus(11 * DAY));
    for (place, attack) in world.attacks().iter().enumerate() {
        for key in 0..6 {
            let events = world.theft(key, place, 3, start, end);
            assert!((1..=50).contains(&events.len()), "{}: {}", attack.name, events.len());
            assert!(events.iter().all(|event| event.request.time >= start && event.request.time < end));
            assert_eq!(world.theft(key, place, 3, start, end), events, "{}", attack.name);
        }
    }
}

#[test]
fn what_nobody_recorded_tells_no_thief_apart() {
    let bare = |event: &mut UsageEvent| {
        let request = &mut event.request;
        request.source.address = std::net::Ipv4Addr::UNSPECIFIED.into();
        request.source.facts = Default::default();
        request.client = Default::default();
        request.shape = Default::default();
        (request.stream, request.output_tokens_max, request.request_bytes) = (false, 0, 0);
        (event.completion, event.response_bytes, event.first_byte_us, event.duration_us) = (0, 0, 0, 0);
    };
    let world = recorded(bare).finish(TEACH, 50).unwrap();
    let missing = "addresses, countries, kinds of network, client software, TLS prints, prompt templates, prompt hashes, \
                   content signals";
    assert_eq!(world.columns().missing().join(", "), missing);
    let (start, end) = (world.start().plus(8 * DAY), world.start().plus(11 * DAY));
    for (place, attack) in world.attacks().iter().enumerate() {
        for event in world.theft(0, place, 3, start, end) {
            let mut bared = event.clone();
            bare(&mut bared);
            assert_eq!(bared, event, "{}", attack.name);
        }
    }
}

#[test]
fn thefts_that_came_with_the_events_are_no_clean_traffic() {
    let mut recording = recorded(|_| {});
    let key = *recording.keys.keys().next().unwrap();
    let clean = recording.keys[&key].clean.clone();
    let mut steal = |kind: &str, day: u64| {
        let at = Timestamp(clean[0].request.time.0 + day * DAY);
        let mut event = clean[0].clone();
        event.request.time = at;
        recording.add(event, None, Some(&kind.into()));
    };
    steal("early", 2);
    // Late ones are put in their places.
    steal("mine", 9);
    steal("mine", 8);
    let world = recording.finish(TEACH, 50).unwrap();
    let place = |name: &str| world.attacks().iter().position(|attack| attack.name == name).unwrap();
    let (start, end) = (world.start().plus(7 * DAY), world.start().plus(11 * DAY));
    let of = |name: &str| (0..6).map(|key| world.theft(key, place(name), 1, start, end).len()).sum::<usize>();
    assert_eq!((of("mine"), of("early")), (2, 0), "thefts of days that teach can not be judged");
    assert_eq!(world.attacks()[place("mine")].group, Group::Recorded);
    let mine = |key| world.theft(key, place("mine"), 1, start, end);
    assert!((0..6).all(|key| mine(key).is_sorted_by_key(|event| event.request.time)));
    let key = (0..6).find(|&key| {
        world.events(key, 11).first().is_some_and(|event| event.request.key == clean[0].request.key)
    });
    assert_eq!(world.events(key.unwrap(), 11).len(), clean.len());
}

#[test]
fn without_clean_events_there_is_no_world() {
    assert!(Recording::new(HashMap::new(), KeyProfile::default()).finish(TEACH, 50).is_none());
}
