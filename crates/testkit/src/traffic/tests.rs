//! Tests of the traffic sample.

use std::io::Write;

use super::*;

fn pack(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[track_caller]
fn check(lines: &str, want: &str) {
    let error =
        Sample::read(&pack(&format!("customer,t_ms,input_tokens,output_tokens\n{lines}"))).unwrap_err();
    assert_eq!(error.to_string(), want);
}

#[test]
fn a_damaged_sample_says_where() {
    check("m-mid/14,1,2", "line 2 of the traffic sample is not customer,t_ms,input_tokens,output_tokens");
    check("m-mid/14,1,2,3,4", "line 2 of the traffic sample is not customer,t_ms,input_tokens,output_tokens");
    check("m-mid/14,1,2,3\nx,1,2,3", "line 3 of the traffic sample names an unknown customer");
    check(
        "m-mid/14,9,2,3\nm-mid/14,8,2,3",
        "line 3 of the traffic sample is out of order or outside its 11 days",
    );
    assert!(matches!(Sample::read(b"no gzip"), Err(ReadSampleError::Unpack(_))));
}

#[test]
fn every_customer_has_history_and_live_days() {
    let sample = Sample::bundled().unwrap();
    assert_eq!(sample.customers().len(), 8);
    for customer in sample.customers() {
        let rows = customer.rows();
        assert!((1_800..=6_000).contains(&rows.len()), "{}: {}", customer.name, rows.len());
        assert_eq!(customer.history().len() + customer.live().len(), rows.len());
        let mut days = [0_usize; DAYS as usize];
        for row in rows {
            days[(row.t_ms / DAY_MS) as usize] += 1;
        }
        assert!(days.iter().all(|&n| n > 10), "{} is silent for a day: {days:?}", customer.name);
        assert!(rows.iter().all(|row| row.input_tokens > 0), "{}", customer.name);
    }
}

#[test]
fn characters_are_what_they_say() {
    let sample = Sample::bundled().unwrap();
    let by_hour = |name: &str| {
        let mut hours = [0_u32; 24];
        for row in sample.customer(name).unwrap().rows() {
            hours[(row.t_ms / 3_600_000 % 24) as usize] += 1;
        }
        let mut sorted = hours;
        sorted.sort_unstable();
        (sorted[0], sorted[23])
    };
    let (low, high) = by_hour("steady");
    assert!(high < 3 * low, "steady: {low} to {high}");
    let (low, high) = by_hour("tides");
    assert!(high > 8 * low, "tides: {low} to {high}");
    let (low, high) = by_hour("nightly");
    assert!(low == 0 && high > 500, "nightly: {low} to {high}");
}

#[test]
fn merged_rows_are_in_time_order_and_complete() {
    let sample = Sample::bundled().unwrap();
    let merged: Vec<_> = sample.merged().collect();
    assert_eq!(merged.len(), sample.customers().iter().map(|c| c.rows().len()).sum::<usize>());
    assert!(merged.is_sorted_by_key(|(_, row)| row.t_ms));
}
