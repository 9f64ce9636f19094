//! Tests of `price`.

use proptest::prelude::*;

use super::*;

fn dollars(input: f64, output: f64) -> (u64, u64) {
    (PicoUsdPerToken::from_usd_per_mtok(input).0, PicoUsdPerToken::from_usd_per_mtok(output).0)
}

#[track_caller]
fn check(provider: &str, model: &str, input: f64, output: f64, source: PriceSource) {
    let (price, found) = PriceTable::bundled().find(provider, model);
    assert_eq!(
        ((price.input.0, price.output.0), found),
        (dollars(input, output), source),
        "{provider} {model}"
    );
}

#[test]
fn every_row_of_the_file_is_read() {
    let table = PriceTable::bundled();
    // A row without input price is no price.
    let is_priced = |line: &&str| line.split(',').skip(2).take(2).all(|rate| !rate.is_empty());
    assert_eq!(table.len(), BUNDLED.lines().skip(1).filter(is_priced).count());
    assert_eq!(table.find("bedrock", "twelvelabs.pegasus-1-2-v1:0").1, PriceSource::Dearest);
    assert_eq!(table.date(), "2026-11");
    assert!(!table.is_empty());
    for line in BUNDLED.lines().skip(1).filter(is_priced) {
        let fields: Vec<_> = line.split(',').collect();
        let (price, source) = table.find(fields[0], fields[1]);
        assert_eq!(source, PriceSource::Exact, "{line}");
        assert_eq!(
            (price.input.0, price.output.0),
            dollars(fields[2].parse().unwrap(), fields[3].parse().unwrap())
        );
        if let Ok(rate) = fields[4].parse::<f64>() {
            assert_eq!(price.cache_read, PicoUsdPerToken::from_usd_per_mtok(rate));
        }
        if let Ok(rate) = fields[5].parse::<f64>() {
            assert_eq!(price.cache_write, PicoUsdPerToken::from_usd_per_mtok(rate));
        }
    }
}

#[test]
fn models_are_found_by_name() {
    check("openai", "gpt-4", 30.0, 60.0, PriceSource::Exact);
    check("openai", "gpt-4o", 2.5, 10.0, PriceSource::Exact);
    check("openai", "gpt-4o-2024-05-13", 5.0, 15.0, PriceSource::Exact);
    check("anthropic", "claude-opus-5", 5.0, 25.0, PriceSource::Exact);
    check("bedrock", "us.anthropic.claude-opus-4-6-v1", 5.5, 27.5, PriceSource::Exact);
}

#[test]
fn other_names_of_a_model_have_its_price() {
    check("openai", "gpt-4o-2031-01-02", 2.5, 10.0, PriceSource::Similar);
    check("anthropic", "claude-opus-5-20310102", 5.0, 25.0, PriceSource::Similar);
    check("openai", "us/gpt-4o", 2.5, 10.0, PriceSource::Similar);
    check("openai", "openai/gpt-4o-mini", 0.15, 0.6, PriceSource::Similar);
    check("openai", "ft:gpt-4o-2024-08-06:acme::abc123", 3.75, 15.0, PriceSource::Similar);
    check("openai", "gpt-4o-mini-transcendent", 0.15, 0.6, PriceSource::Similar);
    check("anthropic", "claude-opus-5@20310102", 5.0, 25.0, PriceSource::Similar);
}

#[test]
fn retired_models_keep_their_price() {
    check("anthropic", "claude-3-opus", 15.0, 75.0, PriceSource::Similar);
    check("anthropic", "claude-3-opus-20240229", 15.0, 75.0, PriceSource::Similar);
    check("anthropic", "claude-3.5-sonnet", 3.0, 15.0, PriceSource::Similar);
    check("anthropic", "claude-3-5-sonnet-20241022", 3.0, 15.0, PriceSource::Similar);
    check("anthropic", "claude-3-5-haiku-latest", 0.8, 4.0, PriceSource::Similar);
    check("openai", "gpt-4-turbo", 10.0, 30.0, PriceSource::Exact);
    check("openai", "gpt-3.5-turbo", 0.5, 1.5, PriceSource::Exact);
}

#[test]
fn what_is_not_known_costs_the_most() {
    check("openai", "gpt-45", 150.0, 600.0, PriceSource::Dearest);
    check("openai", "gpt-4.9", 150.0, 600.0, PriceSource::Dearest);
    check("openai", "dall-e-3", 150.0, 600.0, PriceSource::Dearest);
    check("openai", "", 150.0, 600.0, PriceSource::Dearest);
    check("openai", "ft:unheard:acme", 150.0, 600.0, PriceSource::Dearest);
    check("anthropic", "claude-next", 10.0, 50.0, PriceSource::Dearest);
    check("anthropic", "gpt-4o", 10.0, 50.0, PriceSource::Dearest);
}

#[test]
fn a_model_is_free_under_its_own_name_alone() {
    check("openai", "omni-moderation-latest", 0.0, 0.0, PriceSource::Exact);
    check("openai", "omni-moderation-latest-preview", 150.0, 600.0, PriceSource::Dearest);
}

#[test]
fn a_provider_without_prices_borrows_the_vendors() {
    check("my-proxy", "gpt-4o", 2.5, 10.0, PriceSource::Similar);
    check("my-proxy", "claude-sonnet-4-5-20250929", 3.0, 15.0, PriceSource::Similar);
    check("my-proxy", "claude-3-opus", 15.0, 75.0, PriceSource::Similar);
    let (price, source) = PriceTable::bundled().find("my-proxy", "llama-at-home");
    assert_eq!(source, PriceSource::Dearest);
    assert!(!price.is_free());
}

#[test]
fn operators_override_prices() {
    let price = |rate: u64| Price::new(PicoUsdPerToken(rate), PicoUsdPerToken(rate));
    let table = PriceTable::bundled()
        .clone()
        .with_override("openai", "gpt-4o", price(1))
        .with_override("openai", "gold", price(9_000_000_000))
        .with_override("local", PriceTable::ANY, price(0))
        .with_override("local", "big", price(7));
    assert_eq!(table.find("openai", "gpt-4o"), (price(1), PriceSource::Exact));
    assert_eq!(table.find("openai", "gpt-4o-2031-01-02"), (price(1), PriceSource::Similar));
    assert_eq!(table.find("openai", "unheard").0.input.0, 9_000_000_000);
    assert_eq!(table.find("local", "anything"), (price(0), PriceSource::Exact));
    assert_eq!(table.find("local", "big"), (price(7), PriceSource::Exact));
    assert_eq!(PriceTable::default().find("openai", "gpt-4o"), (Price::default(), PriceSource::Dearest));
}

#[test]
fn cached_tokens_have_their_own_rates() {
    let (opus, _) = PriceTable::bundled().find("anthropic", "claude-opus-5");
    assert_eq!(opus.cache_read, PicoUsdPerToken::from_usd_per_mtok(0.5));
    assert_eq!(opus.cache_write, PicoUsdPerToken::from_usd_per_mtok(6.25));
    assert_eq!(opus.cache_write_1h, PicoUsdPerToken::from_usd_per_mtok(10.0));
    // Where none is published the input price stands in.
    let (gpt, _) = PriceTable::bundled().find("openai", "gpt-4");
    assert_eq!((gpt.cache_read, gpt.cache_write), (gpt.input, gpt.input));
}

#[test]
fn costs_are_exact() {
    let (opus, _) = PriceTable::bundled().find("anthropic", "claude-opus-5");
    let usage = TokenUsage {
        input: 25,
        cache_read: 200,
        cache_write: 600,
        cache_write_1h: 400,
        output: 15,
        reasoning: 4,
    };
    // 25·5 + 200·0.5 + 600·6.25 + 400·10 + 15·25 = 8,350 millionths of a dollar.
    assert_eq!(cost(&usage, &opus), NanoUsd(8_350_000));
    assert_eq!(cost(&TokenUsage::default(), &opus), NanoUsd::ZERO);
    let (cheap, _) = PriceTable::bundled().find("openai", "gpt-5-nano");
    // One cached token: 5 nanodollars.
    assert_eq!(cost(&TokenUsage { cache_read: 1, ..TokenUsage::default() }, &cheap), NanoUsd(5));
    let most = TokenUsage { input: u64::MAX, output: u64::MAX, ..TokenUsage::default() };
    assert_eq!(cost(&most, &opus), NanoUsd::MAX);
}

#[test]
fn the_worst_case_covers_cache_writes() {
    let (opus, _) = PriceTable::bundled().find("anthropic", "claude-opus-5");
    assert_eq!(worst_case(1_000_000, 1_000_000, &opus), NanoUsd::from_dollars(31.25));
    assert_eq!(worst_case(0, 0, &opus), NanoUsd::ZERO);
}

#[test]
fn rates_are_read_exactly() {
    let check =
        |text: &str, want: Option<u64>| assert_eq!(parse_rate(text).map(|rate| rate.0), want, "{text}");
    check("2.5", Some(2_500_000));
    check("0.000001", Some(1));
    check("150", Some(150_000_000));
    check(".5", Some(500_000));
    check("", None);
    check(".", None);
    check("1e3", None);
    check("-1", None);
    check("0.0000001", None);
    check("99999999999999999999", None);
}

proptest! {
    #[test]
    fn nothing_unknown_is_free(provider in "[a-z_]{0,8}|openai|anthropic|azure|gemini", model in "[ -~]{0,20}") {
        let (price, source) = PriceTable::bundled().find(&provider, &model);
        prop_assert!(source == PriceSource::Exact || !price.is_free());
    }

    #[test]
    fn dates_never_change_a_price(year in 2020u16..2040, month in 1u8..13, day in 1u8..29) {
        let (want, _) = PriceTable::bundled().find("openai", "gpt-4.1-mini");
        for model in [format!("gpt-4.1-mini-{year}-{month:02}-{day:02}"), format!("gpt-4.1-mini-{year}{month:02}{day:02}")] {
            prop_assert_eq!(PriceTable::bundled().find("openai", &model).0, want);
        }
    }

    #[test]
    fn costs_add_up(a in 0u64..1_000_000_000, b in 0u64..1_000_000_000) {
        let (price, _) = PriceTable::bundled().find("openai", "gpt-4o-mini");
        let output = |output| TokenUsage { output, ..TokenUsage::default() };
        let sum = cost(&output(a), &price).0 + cost(&output(b), &price).0;
        let whole = cost(&output(a + b), &price).0;
        prop_assert!(whole <= sum && sum <= whole + 1);
    }
}
