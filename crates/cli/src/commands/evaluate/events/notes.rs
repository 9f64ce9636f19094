//! What was odd about the input, and what the figures do not say: on standard error for people, in `notes` of `--json`.

use tokenwatch_evaluate::replay::ReplayReport;

use super::Input;

/// Keys that are named of those that no event has.
const NAMES_MAX: usize = 5;

/// One line each.
pub(super) fn notes(input: &Input, report: &ReplayReport) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: u64, text: String| {
        if count > 0 {
            notes.push(text);
        }
    };
    note(input.moved, format!("{} events came after later ones and were put in their place", input.moved));
    let late = "events came too late to be put in their place; --disorder sets how late they may come";
    note(input.late, format!("{} {late}", input.late));
    let overall = &report.overall;
    let counted = overall.false_alarms.of + overall.theft_days_owner_alerts.of;
    let text =
        "no day counts: --learn-days or --score-from, with each key's first 24 hours, covers all of the data";
    note((counted == 0).into(), text.to_owned());
    let text = "no truth was given: every request counts as the owner's and every alert as false, so `precision` says \
                nothing";
    note((!report.is_labelled).into(), text.to_owned());
    let unmatched = input.truth_thief_requests - input.truth_matched.min(input.truth_thief_requests);
    let no_thief = input.truth_thief_requests == 0 && report.is_labelled;
    note(no_thief.into(), "the truth gives no request to a thief: every alert counts as false".to_owned());
    note(unmatched, format!("{unmatched} thief requests of the truth are not among the events"));
    if input.truth_thief_requests > 0 {
        let text = "events have no request id and count as the owner's";
        note(input.without_request, format!("{} {text}", input.without_request));
    }
    let unseen = &input.profiles_unseen;
    let named: Vec<&str> = unseen.iter().take(NAMES_MAX).map(String::as_str).collect();
    let more = if unseen.len() > NAMES_MAX { ", …" } else { "" };
    let text = format!("{} keys of --profiles have no event: {}{more}", unseen.len(), named.join(", "));
    note(unseen.len() as u64, text);
    let names: Vec<&str> = input.unknown_fields.keys().map(String::as_str).collect();
    note(names.len() as u64, format!("fields that are not known were passed over: {}", names.join(", ")));
    notes
}
