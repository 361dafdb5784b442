use trefoil_settings::{Scope, Settings, from_toml};

/// A configuration file. What is accepted can be applied, and a message names a line of the file.
pub fn settings_toml(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match from_toml(text) {
        Ok(settings) => Settings::default()
            .apply(&settings, Scope::Model, "")
            .expect("what the file reader accepts can be applied"),
        Err(trefoil_settings::TomlError::Setting { line, .. }) => {
            assert!(
                (1..=text.lines().count().max(1)).contains(&line),
                "line {line} is in the file"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
