//! Automation for people who work on TokenWatch: `cargo xtask <task>`.

fn main() -> anyhow::Result<()> {
    xtask::run(std::env::args().skip(1).collect())
}
