use trefoil_compose::{Component, Record};

/// A component that someone gives as a part, and the record of a composition. The files that
/// tools write rely on the sizes and ranges that are accepted here.
pub fn component(data: &[u8]) {
    if let Ok(component) = Component::from_bytes(data.to_vec(), "fuzzed") {
        assert_eq!(component.size(), data.len() as u64);
        // Told without a panic, whatever it is.
        let _ = component.kind().to_string();
    }
    if let Ok(record) = Record::from_bytes(data) {
        for part in &record.parts {
            let end = part.offset.checked_add(part.length).expect("the end of a part is a number");
            assert!(end <= data.len() as u64, "the {} lies inside the file", part.role);
        }
    }
}
