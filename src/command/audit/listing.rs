//! The findings of an audit on their way to files and to standard output, where they are shown once all are there.

use std::io;

use crate::audit::Finding;
use crate::command::exit;
use crate::command::failure::Broken;
use crate::command::spool::Spool;
use crate::command::stdout::print_as;
use crate::config::{AuditSettings, Form};
use crate::inventory::InventoryFile;
use crate::report::ReportError;
use crate::report::audit::{AuditFiles, AuditInfo, AuditSummary, AuditText, JsonAudit};

/// Standard output, in either form. JSON is kept in a file until it is whole: a bad row may still turn up.
enum Printed {
    Text(AuditText),
    Json(JsonAudit<Spool>),
    /// It cannot be kept.
    Lost(io::Error),
}

impl Printed {
    fn begin(form: Form, info: &AuditInfo) -> Self {
        let json = || JsonAudit::begin(Spool::begin()?, info);
        match form {
            Form::Text => Self::Text(AuditText::default()),
            Form::Json => json().map_or_else(Self::Lost, Self::Json),
        }
    }

    /// What goes wrong here is told at the end.
    fn finding(&mut self, finding: &Finding) {
        let kept = match self {
            Self::Text(text) => return text.finding(finding),
            Self::Json(json) => json.finding(finding),
            Self::Lost(_) => return,
        };
        if let Err(error) = kept {
            *self = Self::Lost(error);
        }
    }
}

/// Findings on their way to all outputs.
pub(super) struct Listing<'a> {
    pub(super) info: &'a AuditInfo,
    printed: Printed,
    files: AuditFiles,
    summary: AuditSummary,
}

impl<'a> Listing<'a> {
    pub(super) fn begin(settings: &AuditSettings, info: &'a AuditInfo) -> Result<Self, ReportError> {
        let files = AuditFiles::create(&settings.files, info)?;
        Ok(Self {
            info,
            printed: Printed::begin(settings.form, info),
            files,
            summary: AuditSummary::default(),
        })
    }

    /// Takes in all findings about one VM.
    pub(super) fn add(&mut self, mut findings: Vec<Finding>) {
        findings.retain(|finding| finding.severity >= self.info.min_severity);
        self.summary.add(&findings);
        for finding in &findings {
            self.files.finding(finding);
            self.printed.finding(finding);
        }
    }

    /// Once all findings are there: what they are about.
    pub(super) fn of(
        self,
        inventory: Vec<InventoryFile>,
        selected: u64,
        skipped: u64,
        warnings: Vec<String>,
    ) -> Self {
        Self { summary: AuditSummary { inventory, selected, skipped, warnings, ..self.summary }, ..self }
    }

    /// Puts the files in their places, and says what was found. Returns the exit code.
    pub(super) fn carry_out(self) -> Result<u8, Broken> {
        let Self { info, printed, files, summary } = self;
        let written = files.finish(&summary)?;
        match printed {
            Printed::Text(text) => {
                print_as(Form::Text, &text.finish(info, &summary, &written))?;
            }
            Printed::Json(json) => json.finish(&summary).map_err(Spool::failed)?.print()?,
            Printed::Lost(error) => return Err(Spool::failed(error)),
        }
        Ok(match (summary.skipped, summary.findings) {
            (0, 0) => exit::COMPLETE,
            (0, _) => exit::DRIFT,
            (_, _) => exit::FAILED,
        })
    }
}
