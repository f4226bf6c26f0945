//! The proxy through which a host is reached, if any: the one typed, else the environment's, as curl reads it.

use std::env;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use reqwest::Url;

use super::base_url::BaseUrl;

/// The variables that name one for `https`, the first that is not empty.
const VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The variables that name the hosts which need none.
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// Where a proxy is. It may hold a password, and shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// Why a text is not a [`ProxyUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    #[error("not a URL such as http://proxy:3128")]
    NotAUrl,
    #[error("no proxy that is spoken here: its URL begins with http:// or https://")]
    Scheme,
}

/// Why a variable of the environment names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {error}")]
pub struct InvalidVariable {
    variable: &'static str,
    error: InvalidProxy,
}

impl ProxyUrl {
    /// The one for a host, loopback needing none; `typed` goes before the environment.
    pub(super) fn for_host(url: &BaseUrl, typed: Option<&Self>) -> Result<Option<Self>, InvalidVariable> {
        if url.is_loopback() {
            return Ok(None);
        }
        let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Self::chosen(url, typed, variable)
    }

    fn chosen(
        url: &BaseUrl,
        typed: Option<&Self>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, InvalidVariable> {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|&name| Some((name, variable(name).filter(|value| !value.is_empty())?)))
        };
        if first(&EXCEPTIONS).is_some_and(|(_, hosts)| is_listed(url.host(), &hosts)) {
            return Ok(None);
        }
        match (typed, first(&VARIABLES)) {
            (Some(typed), _) => Ok(Some(typed.clone())),
            (None, Some((name, value))) => {
                value.parse().map(Some).map_err(|error| InvalidVariable { variable: name, error })
            }
            (None, None) => Ok(None),
        }
    }

    pub(super) fn as_url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for ProxyUrl {
    type Err = InvalidProxy;

    /// Without a scheme it is `http`, as with curl.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = Url::parse(&whole).map_err(|_| InvalidProxy::NotAUrl)?;
        match (url.scheme(), url.has_host()) {
            ("http" | "https", true) => Ok(Self(url)),
            ("http" | "https", false) => Err(InvalidProxy::NotAUrl),
            _ => Err(InvalidProxy::Scheme),
        }
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({})", self.0.host_str().unwrap_or_default())
    }
}

/// Whether a host is among those that need no proxy: names with all that is below them, addresses, networks, or `*`.
fn is_listed(host: &str, hosts: &str) -> bool {
    let hosts = hosts.split(|c: char| c == ',' || c.is_whitespace()).filter(|listed| !listed.is_empty());
    let address: Option<IpAddr> = host.parse().ok();
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    hosts.into_iter().any(|listed| match address {
        _ if listed == "*" => true,
        Some(address) => {
            let listed = listed.trim_matches(['[', ']']);
            listed
                .parse::<IpNet>()
                .map_or_else(|_| listed.parse() == Ok(address), |net| net.contains(&address))
        }
        None => {
            let listed = listed.trim_matches('.').to_ascii_lowercase();
            let above = name.strip_suffix(&listed);
            !listed.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The proxy's host, given these variables.
    fn chosen(
        url: &str,
        typed: Option<&str>,
        env: &[(&str, &str)],
    ) -> Result<Option<String>, InvalidVariable> {
        let env: HashMap<&str, &str> = env.iter().copied().collect();
        let typed = typed.map(|typed| typed.parse().unwrap());
        let variable = |name: &str| env.get(name).map(|&value| value.to_owned());
        let chosen = ProxyUrl::chosen(&url.parse().unwrap(), typed.as_ref(), variable)?;
        Ok(chosen.map(|proxy| proxy.0.host_str().unwrap().to_owned()))
    }

    #[test]
    fn the_one_typed_goes_before_the_environments_which_is_read_as_curl_does() {
        let chosen = |typed, env: &[(&str, &str)]| chosen("https://api.example", typed, env).unwrap();
        let of = |host: &str| Some(host.to_owned());
        for (env, host) in [
            (&[][..], None),
            (&[("HTTPS_PROXY", "http://a:3128")], of("a")),
            (&[("HTTPS_PROXY", "a:3128")], of("a")),
            (&[("HTTPS_PROXY", "a"), ("https_proxy", "b"), ("ALL_PROXY", "c")], of("b")),
            (&[("HTTPS_PROXY", ""), ("ALL_PROXY", "http://u:p@c")], of("c")),
            (&[("HTTP_PROXY", "http://a:3128")], None),
        ] {
            assert_eq!(chosen(None, env), host, "{env:?}");
            assert_eq!(chosen(Some("https://typed:1"), env), of("typed"), "{env:?}");
        }
    }

    #[test]
    fn hosts_that_need_none_are_told_as_curl_tells_them() {
        for (host, list, direct) in [
            ("api.example", "*", true),
            ("api.example", " * ", true),
            ("192.0.2.7", "*", true),
            ("[2001:db8::1]", "*", true),
            ("api.example", "", false),
            ("api.example", " , ", false),
            ("api.example", "other.example,api.example", true),
            ("api.example", "other.example API.Example.", true),
            ("api.example", ".example", true),
            ("api.example", "example", true),
            ("api.example", ".", false),
            ("api.example", "i.example", false),
            ("api.example", "www.api.example", false),
            ("192.0.2.7", "192.0.2.0/24", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "198.51.100.0/24,2.7", false),
            ("[2001:db8::1]", "2001:db8::/32", true),
            ("[2001:db8::1]", "[2001:DB8:0::1]", true),
            ("[2001:db8::1]", "2001:db8::2", false),
        ] {
            for typed in [None, Some("http://proxy")] {
                let env = [("NO_PROXY", list), ("HTTPS_PROXY", "http://proxy")];
                let proxy = chosen(&format!("https://{host}"), typed, &env).unwrap();
                assert_eq!(proxy.is_none(), direct, "{host} and {list:?}");
            }
        }
        let both = [("no_proxy", ""), ("NO_PROXY", "*"), ("HTTPS_PROXY", "http://proxy")];
        assert_eq!(
            chosen("https://api.example", None, &both).unwrap(),
            None,
            "an empty one is as good as none"
        );
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_password() {
        for (text, invalid) in [
            ("http://", InvalidProxy::NotAUrl),
            ("http://secret@pro xy", InvalidProxy::NotAUrl),
            ("http://me:secret@", InvalidProxy::NotAUrl),
            ("http://me:secret@proxy:port", InvalidProxy::NotAUrl),
            ("not a url", InvalidProxy::NotAUrl),
            ("socks5://me:secret@proxy", InvalidProxy::Scheme),
            ("socks5h://proxy", InvalidProxy::Scheme),
            ("ftp://proxy", InvalidProxy::Scheme),
            ("file:///secret", InvalidProxy::Scheme),
        ] {
            assert_eq!(text.parse::<ProxyUrl>(), Err(invalid), "{text}");
            let error =
                chosen("https://api.example", None, &[("HTTPS_PROXY", text)]).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY: ") && !error.contains("secret"), "{error}");
            assert!(chosen("https://api.example", None, &[("HTTPS_PROXY", text), ("NO_PROXY", "*")]).is_ok());
        }
        let proxy: ProxyUrl = "http://me:secret@proxy".parse().unwrap();
        assert_eq!(format!("{proxy:?}"), "ProxyUrl(proxy)");
    }
}
