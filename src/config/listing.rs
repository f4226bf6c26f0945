//! `v6fleet inventory`.

use std::num::NonZeroU32;

use super::api::ApiSettings;
use super::calls::policy;
use super::error::ConfigError;
use super::ledger::LedgerSettings;
use crate::api::BaseUrl;
use crate::cli::{CommonArgs, EndpointArgs, ListingArgs, TypedListFormat};
use crate::dialect::Dialect;
use crate::pace::Ceiling;
use crate::report::ReportFile;
use crate::report::listing::Format;
use crate::retry::Policy;

#[derive(Debug)]
pub(crate) struct ListingSettings {
    /// Nothing is read of it or written to it; a file of the list must not take its place.
    pub(crate) ledger: LedgerSettings,
    pub(crate) base_url: BaseUrl,
    pub(crate) dialect: Dialect,
    pub(crate) api: ApiSettings,
    pub(crate) rate: Ceiling,
    /// Of each page.
    pub(crate) policy: Policy,
    /// Without one, the list goes to standard output.
    pub(crate) files: Vec<ReportFile<Format>>,
    /// Of standard output.
    pub(crate) format: Format,
}

impl ListingSettings {
    pub(super) fn of(common: &CommonArgs, typed: ListingArgs) -> Result<Self, ConfigError> {
        let ListingArgs { output, format, endpoint, access, call, rehearsal } = typed;
        let EndpointArgs { base_url, api: dialect } = endpoint;
        Ok(Self {
            ledger: LedgerSettings::of(common, rehearsal.sandbox)?,
            base_url,
            dialect,
            // Where the next page is, is on the one before.
            api: ApiSettings::with_slots(NonZeroU32::MIN, &access, &call, &rehearsal),
            rate: call.rate,
            policy: policy(&call),
            files: output.into_iter().map(ReportFile::named).collect::<Result<_, _>>()?,
            format: match format {
                TypedListFormat::Csv => Format::Csv,
                TypedListFormat::Json => Format::Json,
                TypedListFormat::Jsonl => Format::JsonLines,
            },
        })
    }
}
