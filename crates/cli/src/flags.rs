//! Flags that several commands have.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use trefoil_contract::Setting;
use trefoil_host::{Directory, Grants, HttpHost, INSTANCES_MAX, Limits, Variable};
use trefoil_settings::{Key, Kind, Scope, TABLE};

/// What a guest may use and how much of it.
#[derive(Args, Clone)]
pub(crate) struct GuestFlags {
    /// Grant a directory, to read and write; GUEST is its path for the guest [default: HOST]
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    directories: Vec<Directory>,
    /// Allow HTTP requests to a host (a name, an address, *.DOMAIN, or * for all), at the port that
    /// belongs to http or https unless one is named
    #[arg(long = "http", value_name = "HOST[:PORT]")]
    http_hosts: Vec<HttpHost>,
    /// Set an environment variable; without VALUE, pass on the own one
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    variables: Vec<Variable>,
    /// Memory of the guest at most, that of all instances together, for example 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_max: Option<u64>,
    /// Time for the guest at most, for example 30 or 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Instances of a composition that compute together, each on a thread of its own with its share
    /// of the model [default: for `run` and `chat` one for each physical core, otherwise 1]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(INSTANCES_MAX)))]
    pub(crate) instances: Option<u32>,
}

impl GuestFlags {
    pub(crate) fn grants(&self, arguments: Vec<String>) -> Grants {
        Grants {
            arguments,
            variables: self.variables.clone(),
            directories: self.directories.clone(),
            http_hosts: self.http_hosts.clone(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { memory_bytes_max: self.memory_max, timeout: self.timeout, stall: None }
    }
}

/// What the instance of a model may use that is served.
#[derive(Args, Clone)]
pub(crate) struct ServedGuestFlags {
    /// Grant a directory, to read and write; GUEST is its path for the guest [default: HOST]
    #[arg(long = "dir", value_name = "HOST[::GUEST]")]
    directories: Vec<Directory>,
    /// Allow HTTP requests to a host (a name, an address, *.DOMAIN, or * for all), at the port that
    /// belongs to http or https unless one is named
    #[arg(long = "http", value_name = "HOST[:PORT]")]
    http_hosts: Vec<HttpHost>,
    /// Memory of a model at most, that of all its instances together, for example 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_max: Option<u64>,
    /// Instances that compute a model together, each on a thread of its own with its share of it
    /// [default: one for each physical core]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(INSTANCES_MAX)))]
    pub(crate) instances: Option<u32>,
}

impl ServedGuestFlags {
    pub(crate) fn grants(&self) -> Grants {
        Grants {
            directories: self.directories.clone(),
            http_hosts: self.http_hosts.clone(),
            ..Grants::default()
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { memory_bytes_max: self.memory_max, ..Limits::default() }
    }
}

/// Bytes: a whole number with `K`, `M`, `G` (powers of 1024, `B` or `iB` may follow) or nothing.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => Some(0),
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(shift);
    let bytes = bytes.and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "expected a size such as 1048576, 512M or 2G".into())
}

/// Seconds, with a fraction if need be, or with `ms`, `s`, `m`, `h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => Some(0.001),
        "" | "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    let duration = number.parse::<f64>().ok().zip(seconds);
    let duration = duration
        .and_then(|(number, seconds)| Duration::try_from_secs_f64(number * seconds).ok())
        .filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "expected a time such as 30, 1.5s or 5m".into())
}

/// The settings that are fixed when a model is opened, as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelSettings(pub(crate) Vec<Setting>);

/// The settings of a request, as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestSettings(pub(crate) Vec<Setting>);

macro_rules! settings_as_flags {
    ($type:ident, $scope:expr) => {
        impl Args for $type {
            fn augment_args(command: Command) -> Command {
                keys($scope).fold(command, |command, key| command.arg(flag(key)))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                given(matches, $scope).map($type)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

settings_as_flags!(ModelSettings, Scope::Model);
settings_as_flags!(RequestSettings, Scope::Request);

/// The chat template has a flag of its own, which names a file.
fn keys(scope: Scope) -> impl Iterator<Item = &'static Key> {
    TABLE.iter().filter(move |key| key.scope == scope && key.name != "chat-template")
}

fn flag(key: &Key) -> Arg {
    let is_text = matches!(key.kind, Kind::Text { .. } | Kind::Texts { .. } | Kind::Choice(_));
    let defaults: Vec<_> = key.default_values().iter().map(ToString::to_string).collect();
    let help = match is_text {
        true => key.doc.to_owned(),
        false => format!("{} [{}; engine's default {}]", key.doc, key.kind, defaults.join(", ")),
    };
    let flag = Arg::new(key.name)
        .long(key.name)
        .value_name(if is_text { "TEXT" } else { "NUMBER" })
        .allow_hyphen_values(true)
        .action(if key.kind.is_list() { ArgAction::Append } else { ArgAction::Set })
        .help_heading("Settings")
        .help(help);
    if key.name == "max-tokens" { flag.short('n') } else { flag }
}

fn given(matches: &ArgMatches, scope: Scope) -> Result<Vec<Setting>, clap::Error> {
    let mut settings = Vec::new();
    for key in keys(scope) {
        for text in matches.get_many::<String>(key.name).into_iter().flatten() {
            let setting = trefoil_settings::parse(key.name, text).map_err(|error| {
                clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{error}\n"))
            })?;
            settings.push(setting);
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::ConfigurationFlags;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("7", 7), ("2k", 2048), ("512M", 512 << 20), ("3GiB", 3 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1.5G", "1T", "-1", "99999999999999999999", "17179869184G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_seconds_unless_a_unit_says_otherwise() {
        for (text, ms) in [("2", 2000), ("1.5s", 1500), ("20ms", 20), ("1m", 60_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0", "s", "1d", "-1", "1e99"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_setting_is_a_flag_of_its_scope() {
        let command = ModelSettings::augment_args(Command::new("x"));
        let command = RequestSettings::augment_args(command);
        let command = ConfigurationFlags::augment_args(command);
        for key in TABLE {
            let is_flag = |arg: &Arg| arg.get_long() == Some(key.name);
            assert!(command.get_arguments().any(is_flag), "{}", key.name);
        }
    }
}
