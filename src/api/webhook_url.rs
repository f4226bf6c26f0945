//! Where a chat program or another service takes messages: all of it but the host is a secret.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use super::base_url::{BaseUrl, InvalidBaseUrl};

/// As a [`BaseUrl`], with a query where there is one. Shows nothing but its host.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    base: BaseUrl,
    query: Option<String>,
}

impl WebhookUrl {
    /// The same without its query.
    pub fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// The whole of it, to be called and never shown.
    pub fn reveal(&self) -> String {
        match &self.query {
            None => self.base.0.as_str().to_owned(),
            Some(query) => format!("{}?{query}", self.base.0),
        }
    }
}

impl FromStr for WebhookUrl {
    type Err = InvalidBaseUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text).map_err(|_| InvalidBaseUrl::of(text))?;
        let query = url.query().map(str::to_owned);
        url.set_query(None);
        Ok(Self { base: url.as_str().parse()?, query })
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.host())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_kept_and_nothing_but_the_host_is_shown() {
        for (text, revealed) in [
            ("https://chat.example/hook/s3cret", "https://chat.example/hook/s3cret"),
            ("https://chat.example/hook/s3cret/", "https://chat.example/hook/s3cret/"),
            ("https://chat.example/hook/?key=s3cret&a=b", "https://chat.example/hook/?key=s3cret&a=b"),
            ("https://CHAT.example?s3cret", "https://chat.example/?s3cret"),
        ] {
            let url: WebhookUrl = text.parse().unwrap();
            assert_eq!(url.reveal(), revealed);
            assert_eq!(
                (format!("{url}"), format!("{url:?}").as_str()),
                ("chat.example".into(), "WebhookUrl(chat.example)")
            );
        }
        for text in [
            "http://chat.example/s3cret",
            "https://me:pw@chat.example/",
            "chat.example/s3cret",
            "https://chat.example/#a",
        ] {
            assert!(text.parse::<WebhookUrl>().is_err(), "{text}");
        }
    }
}
