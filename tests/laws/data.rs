//! Data is data: any text in a manifest comes through to what was asked for unchanged, or is refused by `validate`.

use proptest::prelude::*;
use reeve::kinds::{Catalog, Spec};
use reeve::manifest::load_str;
use reeve::plan::desired::Desired;
use serde_json::{Value, json};

/// Texts that are something else to a shell, to XML, to YAML, to a configuration file or to a terminal.
const NASTY: &[&str] = &[
    "$(touch /tmp/x)",
    "`id`",
    "; rm -rf /",
    "a\nb",
    "a\r\nb",
    "\"quoted\" and 'quoted'",
    "<x>&amp;]]></x>",
    "%s %n %i",
    "{{ x }}",
    "${HOME}",
    "\u{0}",
    "\u{1b}[31mred",
    "\u{202e}turned",
    "é ß 漢字 🦀 𝄞",
    "a: b # c",
    "- item",
    "null",
    "yes",
    "0x1F",
    "lxc.hook.start = /bin/sh",
    "\\",
    "\t",
    " leading and trailing ",
    "../../etc/passwd",
    "--option",
    "a=b",
    "\u{fffe}",
    "\u{85}\u{2028}",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(NASTY).prop_map(str::to_owned),
        (prop::sample::select(NASTY), prop::sample::select(NASTY)).prop_map(|(a, b)| format!("{a}{b}")),
        prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter),
        "[ -~]{0,20}",
    ]
}

/// A manifest with a text in the field that `put` names.
fn manifests(put: &str, text: &str) -> Vec<Value> {
    let doc = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "reeve/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut vm = doc("VirtualMachine", "a", json!({"nics": {}, "disks": {}}));
    let mut ct = doc("Container", "b", json!({"rootfs": {"hostPath": "/srv/b"}}));
    let first: &mut Value = if put.starts_with("ct.") { &mut ct } else { &mut vm };
    let field = put.split_once('.').unwrap().1;
    let spec = &mut first["spec"];
    match field {
        "tags" => spec["tags"] = json!([text]),
        "annotation" => first["metadata"]["annotations"] = json!({"note": text}),
        "label" => first["metadata"]["labels"] = json!({"note": text}),
        "userData" => spec["cloudInit"] = json!({"firstBoot": {"userData": text}}),
        "runCmd" => spec["cloudInit"] = json!({"firstBoot": {"user": "ops", "runCmd": [text]}}),
        "sshKey" => spec["cloudInit"] = json!({"firstBoot": {"sshKeys": [format!("ssh-ed25519 AAAA {text}")]}}),
        "cmdline" => spec["boot"] = json!({"kernel": "/boot/k", "cmdline": text}),
        "smbios" => spec["smbios"] = json!({"serial": text}),
        "path" => spec["disks"] = json!({"x": {"path": format!("/dev/{text}")}}),
        "serial" => spec["disks"] = json!({"x": {"path": "/dev/x", "serial": text}}),
        "env" => spec["env"] = json!({"A": text}),
        "entrypoint" => spec["entrypoint"] = json!(["/bin/sh", text]),
        "mount" => spec["mounts"] = json!({"x": {"path": format!("/x{text}"), "hostPath": "/srv"}}),
        other => spec[other] = json!(text),
    }
    vec![vm, ct]
}

const FIELDS: &[&str] = &[
    "vm.description",
    "vm.tags",
    "vm.annotation",
    "vm.label",
    "vm.userData",
    "vm.runCmd",
    "vm.sshKey",
    "vm.cmdline",
    "vm.smbios",
    "vm.path",
    "vm.serial",
    "vm.machine",
    "ct.description",
    "ct.tags",
    "ct.annotation",
    "ct.env",
    "ct.entrypoint",
    "ct.mount",
    "ct.hostname",
    "ct.searchdomain",
];

/// Whether a value has the text somewhere.
fn has(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => s.contains(text),
        Value::Array(items) => items.iter().any(|v| has(v, text)),
        Value::Object(map) => map.values().any(|v| has(v, text)),
        _ => false,
    }
}

/// The accepted specs, or nothing when the manifests were refused.
fn accepted(documents: &[Value]) -> Option<Vec<(Value, Spec)>> {
    let text: String = documents.iter().map(|d| format!("---\n{d}\n")).collect();
    let loaded = load_str("x.yaml", &text);
    let (_, found) = Desired::build(&loaded, &Catalog::default());
    if loaded.diagnostics.has_errors() || found.has_errors() {
        let all = loaded.diagnostics.0.iter().chain(&found.0);
        all.for_each(|d| assert!(d.help.is_some() && d.place.is_some(), "{d:?}"));
        return None;
    }
    Some(loaded.resources.iter().map(|r| (r.document(), r.spec.clone())).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_kept_as_it_is_or_refused(field in prop::sample::select(FIELDS), text in text()) {
        let documents = manifests(field, &text);
        if let Some(kept) = accepted(&documents) {
            prop_assert!(kept.iter().any(|(document, _)| has(document, &text)), "{field} lost {text:?}: {kept:?}");
            // What a program or a guest's shell gets has no NUL; labels and annotations reach neither.
            let words = kept.iter().map(|(document, _)| document["spec"].to_string()).collect::<String>();
            prop_assert!(!words.contains("\\u0000"), "{field} kept a NUL");
            // What is written out is read back as the same.
            let again = accepted(&kept.iter().map(|(d, _)| d.clone()).collect::<Vec<_>>());
            prop_assert_eq!(again.map(|a| a.into_iter().map(|(_, s)| s).collect::<Vec<_>>()), Some(kept.into_iter().map(|(_, s)| s).collect::<Vec<_>>()));
        }
    }
}
