//! What kind of house a hosting network is.
//!
//! An honest workload that moves goes to one of a few large clouds more often than not; thieves rent where a
//! card and a name are asked for last, and proxies run in the same houses. The kind of network (`hosting`) does not
//! tell the two apart, the autonomous system does.
//!
//! Sources: the clouds' own published ranges name their systems; 42 of 78 published attacker addresses stood in
//! public lists of hosting and VPN networks, and the houses named in write-ups of thefts (AlexHost, M247, Datacamp,
//! Packethub, TZULO, Host Universal) are none of the large clouds. The shares below are stated assumptions: among
//! benign newcomers from a new hosting network 70 % come from a large cloud and 10 % from a house named in thefts;
//! among thieves in hosting 30 % and 35 %.

use tokenwatch_model::network::NetworkKind;

use crate::features::Features;
use crate::math::ln;

/// Autonomous systems of the large clouds, sorted: Amazon, Google, Microsoft, Oracle, IBM, Alibaba, Tencent,
/// Fastly, Vercel's and Cloudflare's own platforms run on these or pass for access.
const LARGE: [u32; 13] =
    [8_068, 8_070, 8_075, 14_618, 15_169, 16_509, 31_898, 36_351, 37_963, 45_102, 54_113, 132_203, 396_982];
/// Houses named in published thefts, sorted.
const NAMED: [u32; 9] = [9_009, 11_878, 51_396, 60_068, 136_557, 136_787, 200_019, 212_238, 213_230];

/// Evidence in the house a newcomer from a new network calls from, in nats.
pub(crate) fn nats(features: &Features) -> f64 {
    if features.asn == 0 || features.private || features.kind != NetworkKind::Hosting {
        return 0.0;
    }
    if NAMED.binary_search(&features.asn).is_ok() {
        return ln(0.35 / 0.10);
    }
    if LARGE.binary_search(&features.asn).is_ok() { ln(0.30 / 0.70) } else { ln(0.35 / 0.20) }
}

/// The evidence in words.
pub(crate) fn describe(features: &Features) -> String {
    let asn = features.asn;
    if NAMED.binary_search(&asn).is_ok() {
        format!("AS{asn} is a house that published thefts came from")
    } else if LARGE.binary_search(&asn).is_ok() {
        format!("AS{asn} is a large cloud, where honest workloads mostly run")
    } else {
        format!("AS{asn} is no large cloud, where honest workloads mostly run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted_and_apart() {
        assert!(LARGE.is_sorted() && NAMED.is_sorted());
        assert!(NAMED.iter().all(|asn| LARGE.binary_search(asn).is_err()));
    }

    #[test]
    fn an_honest_newcomer_gains_nothing_on_average() {
        let mean = 0.7 * (0.30 / 0.70) + 0.1 * (0.35 / 0.10) + 0.2 * (0.35 / 0.20);
        assert!((mean - 1.0f64).abs() < 1e-9);
    }
}
