//! `tokenwatch audit`: who changed what, and whether the record is whole.

use std::process::ExitCode;

use serde_json::json;

use crate::state::open_store;
use crate::{Common, output};

/// `tokenwatch audit …`
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Show the latest entries, newest first
    Show {
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Walk the whole hash chain; exit code 3 when something was altered
    Verify,
}

pub(crate) fn run(common: &Common, args: &Args) -> anyhow::Result<ExitCode> {
    let store = open_store(&common.state_dir())?;
    match args {
        Args::Show { limit } => {
            let rows = store.audit_latest(*limit)?;
            if common.json {
                output::json(&rows)?;
            } else if rows.is_empty() {
                output::say("Nothing was changed yet.");
            } else {
                let rows: Vec<Vec<String>> = rows
                    .into_iter()
                    .map(|row| {
                        let entry = row.entry;
                        vec![
                            row.seq.to_string(),
                            entry.time.to_string(),
                            entry.actor.to_string(),
                            entry.action.to_string(),
                            entry.subject.to_string(),
                            entry.detail,
                        ]
                    })
                    .collect();
                output::line(&output::table(&["SEQ", "TIME", "WHO", "WHAT", "SUBJECT", "DETAIL"], &rows));
            }
            Ok(ExitCode::SUCCESS)
        }
        Args::Verify => {
            let report = store.verify_audit()?;
            let fault = report.fault.as_ref().map(|fault| format!("{fault:?}"));
            if common.json {
                output::json(
                    &json!({ "rows": report.rows, "head": report.head, "whole": report.is_whole(), "fault": fault }),
                )?;
            } else {
                match fault {
                    None => {
                        output::line(&format!("{} entries, none altered; head {}", report.rows, report.head))
                    }
                    Some(fault) => output::line(&format!("ALTERED after {} entries: {fault}", report.rows)),
                }
            }
            Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
    }
}
