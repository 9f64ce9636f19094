//! What the tasks check holds for this repository.

#[test]
fn the_repository_is_tidy() -> anyhow::Result<()> {
    let problems = xtask::tidy::check(xtask::repository()?)?;
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "cargo xtask tidy:\n{}", lines.join("\n"));
    Ok(())
}

#[test]
fn the_univariate_detector_keeps_its_score() -> anyhow::Result<()> {
    let score = xtask::nab::standard_score()?;
    assert!(score >= 60.0, "cargo xtask nab: {score}");
    Ok(())
}
