//! The key: where it is, and whether the API takes it. Pure.

use crate::api::{Credential, Fault, Meaning, Page};
use crate::check::{Check, Finding};
use crate::command::exit;
use crate::config::{ApiKey, ConfigError};
use crate::outcome::Failure;
use crate::stop::Stop;
use crate::text::quoted;

/// What is known of the key before it is shown to anybody.
pub(super) fn found(key: &Result<ApiKey, ConfigError>) -> Finding {
    let key = match key {
        Ok(key) => key,
        Err(error) => return missing(error),
    };
    let rights = key.rights.map(|rights| format!(", rights {rights:04o}")).unwrap_or_default();
    let says = format!("{}{rights}, fingerprint {}", key.source, key.fingerprint());
    match key.is_exposed() {
        true => Finding::warning(Check::Key, format!("{says}: everybody on this machine may read it"))
            .with_remedy(format!("chmod 600 {}", quoted(&key.source))),
        false => Finding::ok(Check::Key, says),
    }
}

fn missing(error: &ConfigError) -> Finding {
    let finding = Finding::error(Check::Key, error.to_string(), exit::USAGE);
    match error {
        ConfigError::NoKey => finding,
        _ => finding.with_remedy("put the key that HostUp shows there, or say where it is (--api-key-file)"),
    }
}

/// What the API says of the key, asked for one VM of the account's list.
pub(super) fn taken(answer: &Result<Page, Fault>) -> Finding {
    let Err(fault) = answer else { return Finding::ok(Check::Access, "the API takes the key") };
    let says = |what: &str| format!("{what}: {}", fault.message);
    match fault.meaning {
        Meaning::Refused(Credential::Key) => {
            Finding::error(Check::Access, says("the API refuses the key"), Stop::KeyRefused.exit_code())
                .with_remedy(
                    "take the key that HostUp shows for this account, whole, and of the right --base-url",
                )
        }
        Meaning::Throttled => Finding::warning(Check::Access, says("the API refuses calls for their rate"))
            .with_remedy("see who else calls with this key; a run waits as long as it is asked to"),
        Meaning::Final if fault.failure == Failure::Forbidden => {
            Finding::warning(Check::Access, says("the API knows the key, and it may not list VMs"))
                .with_remedy("give it the scope read:vm: without it no lost answer can be looked after")
        }
        Meaning::Final | Meaning::NotFound => {
            Finding::error(Check::Access, says("the API does not list the account's VMs"), exit::BRAKED)
                .with_remedy("check --base-url, and --api")
        }
        _ => Finding::unchecked(Check::Access, says("whether the API takes the key is not known")),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::check::Level;

    #[test]
    fn a_key_is_told_with_its_place_and_its_rights_and_never_itself() {
        let key = |rights| {
            let secret = SecretString::from("secret-marker");
            found(&Ok(ApiKey { secret, source: "/etc/v6fleet/key".into(), rights }))
        };
        for (rights, level) in [(None, Level::Ok), (Some(0o600), Level::Ok), (Some(0o644), Level::Warning)] {
            let finding = key(rights);
            assert_eq!((finding.level, finding.exit_code), (level, 0));
            assert!(!format!("{finding:?}").contains("secret-marker"));
        }
        assert_eq!(found(&Err(ConfigError::NoKey)).exit_code, 2);
    }

    #[test]
    fn what_the_api_says_of_the_key_is_told_from_what_it_means() {
        let page = Page { vms: vec![], next: None, warnings: vec![] };
        assert_eq!(taken(&Ok(page)).level, Level::Ok);
        for (failure, meaning, level, code) in [
            (Failure::Unauthorized, Meaning::Refused(Credential::Key), Level::Error, 8),
            (Failure::Forbidden, Meaning::Final, Level::Warning, 0),
            (Failure::Forbidden, Meaning::Edge, Level::Unchecked, 0),
            (Failure::RateLimited, Meaning::Throttled, Level::Warning, 0),
            (Failure::ServerError, Meaning::Transient, Level::Unchecked, 0),
            (Failure::NotFound, Meaning::NotFound, Level::Error, 4),
            (Failure::Rejected, Meaning::Final, Level::Error, 4),
        ] {
            let message = "its words".to_owned();
            let fault = Fault { failure, meaning, may_have_applied: false, retry_after: None, message };
            let finding = taken(&Err(fault));
            assert_eq!((finding.level, finding.exit_code), (level, code), "{finding:?}");
        }
    }
}
