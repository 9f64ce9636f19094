//! Detection against false alarms, over all thresholds that the clean days tell apart.

use super::tally::Tally;
use super::{CurvePoint, alarms};

/// Beyond this share of key-days with an alarm nobody looks any more.
const SHARE_MAX: f64 = 0.25;
/// Steps to each doubling of the number of false alarms.
const STEPS: f64 = 3.0;

/// From no false alarm to the most that anybody could want, in equal ratios.
pub(super) fn curve(tally: &Tally<'_>) -> Vec<CurvePoint> {
    let mut days: Vec<f64> = tally.days().collect();
    days.sort_by(|a, b| b.total_cmp(a));
    let most = (days.len() as f64 * SHARE_MAX) as usize;
    let mut allowed = vec![0];
    let mut next = 1.0_f64;
    while (next as usize) <= most {
        if allowed.last() != Some(&(next as usize)) {
            allowed.push(next as usize);
        }
        next *= libm::exp2(1.0 / STEPS);
    }
    let mut points: Vec<CurvePoint> = Vec::with_capacity(allowed.len());
    for alarms_allowed in allowed {
        let threshold = days.get(alarms_allowed).copied().unwrap_or(0.0).max(0.0).next_up();
        if points.last().is_some_and(|last| last.threshold <= threshold) {
            continue;
        }
        points.push(CurvePoint {
            threshold,
            false_alarms: alarms(days.iter().copied(), threshold).share,
            groups: tally.at(threshold).means(),
        });
    }
    points
}
