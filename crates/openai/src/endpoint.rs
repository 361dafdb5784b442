use crate::Failure;

/// What a path and a method ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Models,
    Model(String),
    Chat,
    Completions,
    Responses,
    Embeddings,
    Rerank,
    Tokenize,
    Detokenize,
    Health,
    Document,
}

impl Endpoint {
    /// Finds it; what stands behind a `?` means nothing here.
    pub(crate) fn find(method: &str, path: &str) -> Result<Self, Failure> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let (takes, endpoint) = match path {
            "/v1/models" => ("GET", Endpoint::Models),
            "/v1/chat/completions" => ("POST", Endpoint::Chat),
            "/v1/completions" => ("POST", Endpoint::Completions),
            "/v1/responses" => ("POST", Endpoint::Responses),
            "/v1/embeddings" => ("POST", Endpoint::Embeddings),
            "/v1/rerank" => ("POST", Endpoint::Rerank),
            "/tokenize" => ("POST", Endpoint::Tokenize),
            "/detokenize" => ("POST", Endpoint::Detokenize),
            "/health" => ("GET", Endpoint::Health),
            "/openapi.json" => ("GET", Endpoint::Document),
            _ => match path.strip_prefix("/v1/models/") {
                Some(name) if !name.is_empty() => ("GET", Endpoint::Model(decoded(name)?)),
                _ => return Err(Failure::no_page(path)),
            },
        };
        let is_taken = method == takes || (method == "HEAD" && takes == "GET");
        if is_taken { Ok(endpoint) } else { Err(Failure::no_method(method, path)) }
    }
}

/// A part of a path without its percent-encoding (RFC 3986, section 2.1).
fn decoded(text: &str) -> Result<String, Failure> {
    let invalid = || Failure::no_page(text);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2).ok_or_else(invalid)?;
        let value = |digit: &u8| (*digit as char).to_digit(16);
        let (Some(high), Some(low)) = (value(&digits[0]), value(&digits[1])) else {
            return Err(invalid());
        };
        bytes.push((high << 4 | low) as u8);
        rest = behind;
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_are_told_apart() {
        let model = |name: &str| Ok(Endpoint::Model(name.into()));
        for (method, path, expected) in [
            ("GET", "/v1/models", Ok(Endpoint::Models)),
            ("HEAD", "/health?x=1", Ok(Endpoint::Health)),
            ("GET", "/v1/models/org/two", model("org/two")),
            ("GET", "/v1/models/a%20b%2Fc", model("a b/c")),
            ("POST", "/v1/chat/completions", Ok(Endpoint::Chat)),
        ] {
            assert_eq!(Endpoint::find(method, path), expected, "{method} {path}");
        }
        for (method, path, status) in [
            ("GET", "/v1/chat/completions", 405),
            ("HEAD", "/tokenize", 405),
            ("GET", "/v1/models/", 404),
            ("GET", "/v1/models/a%2", 404),
            ("GET", "/v1/models/a%+1", 404),
            ("GET", "/v1/models/%ff", 404),
            ("POST", "/", 404),
        ] {
            let failure = Endpoint::find(method, path).expect_err(path);
            assert_eq!(failure.status(), status, "{method} {path}");
        }
    }
}
