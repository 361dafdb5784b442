use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use crate::HttpHost;

/// What a guest may use beyond computing, standard input and standard output.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Arguments behind the program's name.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub variables: Vec<Variable>,
    /// Directories, to read and write.
    pub directories: Vec<Directory>,
    /// Hosts to send HTTP requests to.
    pub http_hosts: Vec<HttpHost>,
}

/// Why a grant is not possible.
#[derive(Debug, Error)]
pub enum GrantError {
    /// `--env NAME` without a value in the own environment.
    #[error("environment variable `{0}` is not set (or not UTF-8); give it as `{0}=VALUE`")]
    Unset(String),
    /// A name that no environment can hold.
    #[error("`{0}` is not an environment variable: expected NAME or NAME=VALUE")]
    Name(String),
    /// A directory that cannot be opened.
    #[error("cannot open the directory `{}`", path.display())]
    Directory {
        /// On the host.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `HOST::GUEST` with an empty half.
    #[error("`{0}` is not a directory grant: expected HOST or HOST::GUEST")]
    Syntax(String),
    /// A host for HTTP that is none.
    #[error(
        "`{0}` is not a host: expected HOST or HOST:PORT, where HOST is a name, an address, \
         *.DOMAIN, or * for all"
    )]
    Host(String),
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Variable {
    type Err = GrantError;

    /// `NAME=VALUE`, or `NAME` for the value in the own environment.
    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None if text.is_empty() => return Err(GrantError::Name(text.into())),
            None => (text, std::env::var(text).map_err(|_| GrantError::Unset(text.into()))?),
        };
        if name.is_empty() || text.contains('\0') {
            return Err(GrantError::Name(text.into()));
        }
        Ok(Variable { name: name.into(), value })
    }
}

/// A directory of the host under a path of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// On the host.
    pub host: PathBuf,
    /// As the guest sees it.
    pub guest: String,
}

impl FromStr for Directory {
    type Err = GrantError;

    /// `HOST::GUEST`, or `HOST` for the same path on both sides.
    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (host, guest) = text.split_once("::").unwrap_or((text, text));
        if host.is_empty() || guest.is_empty() {
            return Err(GrantError::Syntax(text.into()));
        }
        Ok(Directory { host: Path::new(host).into(), guest: guest.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_guest_path_keeps_its_name() {
        let directory: Directory = "a/b".parse().expect("valid");
        assert_eq!(directory, Directory { host: "a/b".into(), guest: "a/b".into() });
        let directory: Directory = "a/b::/m".parse().expect("valid");
        assert_eq!(directory, Directory { host: "a/b".into(), guest: "/m".into() });
    }

    #[test]
    fn a_directory_with_an_empty_half_is_refused() {
        for text in ["", "::x", "x::"] {
            assert!(text.parse::<Directory>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_may_hold_equal_signs() {
        let variable: Variable = "A=b=c".parse().expect("valid");
        assert_eq!(variable, Variable { name: "A".into(), value: "b=c".into() });
    }

    #[test]
    fn an_unset_variable_is_named() {
        let error = "TREFOIL_NO_SUCH_VARIABLE".parse::<Variable>().expect_err("unset");
        assert!(error.to_string().contains("`TREFOIL_NO_SUCH_VARIABLE` is not set"), "{error}");
        assert!("=x".parse::<Variable>().is_err());
    }
}
