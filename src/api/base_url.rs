//! Where the API is, so that nobody on the way can read along.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// Where the API is: `https`, or plain `http` to a literal loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(pub(super) Url);

/// Why a text is not a [`BaseUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    #[error("not a URL such as https://cloud.hostup.se")]
    NotAUrl,
    /// It is not shown: all of it may be a token.
    #[error(
        "it has to begin with https://, as https://cloud.hostup.se does (it may hold a secret, so it is not shown)"
    )]
    NoScheme,
    #[error(
        "plain http is for a literal loopback address only (http://127.0.0.1:PORT): others could read along"
    )]
    PlainHttp,
    #[error("must hold no user name, password, query or fragment")]
    Surplus,
}

impl BaseUrl {
    /// Whether the host is a literal loopback address; proxies are never used for those.
    pub fn is_loopback(&self) -> bool {
        self.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Without the brackets of an address.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// Without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

impl InvalidBaseUrl {
    /// Of a text that is no URL of a server's.
    pub(super) fn of(text: &str) -> Self {
        match text.contains("://") {
            true => Self::NotAUrl,
            false => Self::NoScheme,
        }
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| InvalidBaseUrl::of(text))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(InvalidBaseUrl::of(text));
        }
        let credentials = !url.username().is_empty() || url.password().is_some();
        if credentials || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBaseUrl::Surplus);
        }
        let base = Self(url);
        match base.is_plain() && !base.is_loopback() {
            true => Err(InvalidBaseUrl::PlainHttp),
            false => Ok(base),
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_refused_except_to_a_literal_loopback_address() {
        for text in
            ["https://cloud.hostup.se", "http://127.0.0.1:8080", "http://[::1]:8080/", "http://127.9.9.9"]
        {
            assert!(text.parse::<BaseUrl>().is_ok(), "{text}");
        }
        for text in
            ["http://cloud.hostup.se", "http://localhost:8080", "http://10.0.0.1", "http://127.0.0.1.nip.io"]
        {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::PlainHttp), "{text}");
        }
        for text in ["ftp://cloud.hostup.se", "file:///etc/passwd", "https://", "https://h:99999"] {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::NotAUrl), "{text}");
        }
        for text in ["", "cloud.hostup.se", "cloud.hostup.se:443/x", "127.0.0.1:8646", "mailto:a@b.example"] {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::NoScheme), "{text}");
        }
        for text in
            ["https://user:pw@cloud.hostup.se", "https://cloud.hostup.se/?a=b", "https://cloud.hostup.se/#a"]
        {
            assert_eq!(text.parse::<BaseUrl>(), Err(InvalidBaseUrl::Surplus), "{text}");
        }
    }

    #[test]
    fn a_base_url_is_one_text_however_its_end_is_written() {
        let text = |url: &str| url.parse::<BaseUrl>().unwrap().as_str().to_owned();
        assert_eq!(text("https://cloud.hostup.se/"), text("https://CLOUD.hostup.se:443"));
        assert_eq!(text("https://example.com/proxy/"), "https://example.com/proxy");
    }
}
