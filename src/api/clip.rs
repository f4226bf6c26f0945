//! A server's text, cut to what people can use.

/// How much of a server's text is kept, in characters.
const TEXT_CAP: usize = 300;

/// A server's text, no longer than is useful.
pub(super) fn clip(text: &str) -> String {
    match text.trim() {
        // No text has more characters than bytes.
        short if short.len() <= TEXT_CAP => short.to_owned(),
        long => long.chars().take(TEXT_CAP).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_text_is_clipped() {
        assert_eq!(clip(&"å".repeat(5000)).chars().count(), TEXT_CAP);
        assert_eq!(clip(" as it is\n"), "as it is");
    }
}
