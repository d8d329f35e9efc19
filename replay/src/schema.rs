//! The JSON Schemas of what the command prints.

/// A schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Its name on the command line: the verb's.
    pub name: &'static str,
    /// Another name.
    pub alias: Option<&'static str>,
    /// The schema, JSON.
    pub text: &'static str,
}

const fn schema(name: &'static str, text: &'static str) -> Schema {
    Schema { name, alias: None, text }
}

/// All of them: one for each file in `replay/schema/`.
pub const ALL: &[Schema] = &[
    schema("bench", include_str!("../schema/bench.schema.json")),
    schema("diff", include_str!("../schema/diff.schema.json")),
    schema("doctor", include_str!("../schema/doctor.schema.json")),
    schema("explain", include_str!("../schema/explain.schema.json")),
    schema("get", include_str!("../schema/get.schema.json")),
    Schema {
        name: "replay",
        alias: Some("packet"),
        text: include_str!("../schema/replay.schema.json"),
    },
];

/// The schema of a name.
pub fn find(name: &str) -> Option<&'static Schema> {
    ALL.iter().find(|schema| schema.name == name || schema.alias == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/schema");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort_unstable();
        let table: Vec<String> =
            ALL.iter().map(|schema| format!("{}.schema.json", schema.name)).collect();
        assert_eq!(files, table, "replay/schema/ and replay/src/schema.rs");
    }

    #[test]
    fn every_schema_is_json_and_says_what_it_is_of() {
        for schema in ALL {
            let value: serde_json::Value = serde_json::from_str(schema.text).unwrap();
            assert!(value["title"].is_string(), "{}", schema.name);
            assert_eq!(find(schema.name), Some(schema));
        }
        assert_eq!(find("packet"), find("replay"));
        assert_eq!(find("nonesuch"), None);
    }
}
