//! The fields of a log line as text, but for those that are told already.

use std::error::Error;
use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

/// A field whose name begins so is told by the message already, or by the recap: text leaves it out, and JSON has it
/// without this.
pub(super) const SAID: &str = "said.";

/// As tracing-subscriber writes them.
pub(super) struct Fields;

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut unsaid = Unsaid(DefaultVisitor::new(writer, true));
        fields.record(&mut unsaid);
        unsaid.0.finish()
    }
}

struct Unsaid<'w>(DefaultVisitor<'w>);

impl Visit for Unsaid<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !field.name().starts_with(SAID) {
            self.0.record_debug(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if !field.name().starts_with(SAID) {
            self.0.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if !field.name().starts_with(SAID) {
            self.0.record_error(field, value);
        }
    }
}
