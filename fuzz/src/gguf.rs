use trefoil_gguf::Gguf;

/// The header of a model. What the reader accepts, engines rely on: tensors lie aligned inside
/// the file, apart from one another, and have the size that their shape asks for.
pub fn gguf(data: &[u8]) {
    let Ok(gguf) = Gguf::read(&data) else { return };
    let mut ranges = Vec::new();
    for tensor in &gguf.tensors {
        let end = tensor.offset.checked_add(tensor.size).expect("the end of the data is a number");
        assert!(end <= data.len() as u64, "`{}` ends inside the file", tensor.name);
        let in_section = tensor.offset - gguf.layout.data.start;
        assert!(in_section.is_multiple_of(gguf.layout.alignment.into()), "the data are aligned");
        assert_eq!(tensor.tensor_type.size_of(&tensor.dimensions), Some(tensor.size));
        let found = gguf.tensor(&tensor.name).expect("a tensor is found by its name");
        assert_eq!(found.offset, tensor.offset, "names are unique");
        ranges.push(tensor.offset..end);
    }
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "no data overlap");

    for (key, _) in gguf.metadata.iter() {
        let metadata = &gguf.metadata;
        assert!(metadata.get(key).is_some(), "a value is found by its key");
        // A value has one type: at most one kind of getter accepts it.
        let kinds = [
            matches!(metadata.f32(key), Ok(Some(_))),
            matches!(metadata.bool(key), Ok(Some(_))),
            matches!(metadata.string(key), Ok(Some(_))),
            matches!(metadata.strings(key), Ok(Some(_))),
            matches!(metadata.i32s(key), Ok(Some(_))),
            matches!(metadata.f32s(key), Ok(Some(_))),
        ];
        assert!(kinds.iter().filter(|kind| **kind).count() <= 1, "`{key}` has one type");
        if let Ok(Some(strings)) = metadata.strings(key) {
            assert_eq!(strings.iter().count(), strings.len());
        }
    }
}
