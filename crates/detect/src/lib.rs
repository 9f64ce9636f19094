//! Detection: baselines, rules and the newcomer channel; events in, findings out.
