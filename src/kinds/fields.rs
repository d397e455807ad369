//! The macro that writes a part of a spec: each field with its cost and its default, said once.
//!
//! ```text
//! fields! {
//!     /// Processors.
//!     Cpu {
//!         /// How many sockets.
//!         sockets: value u32, "restart", 1;      // left out: the default
//!         /// At most this many cores' worth of time.
//!         limit: maybe f64, "live";              // left out: none
//!         /// The hardware address.
//!         mac: unmanaged String, "live";         // left out: as it is
//!         /// How it boots.
//!         firmware: section Firmware, "restart"; // left out: every field at its default
//!         /// A trusted platform module.
//!         tpm: device Tpm, "restart";            // left out: not there
//!         /// Its disks.
//!         disks: map Disk, "live";               // keyed by name, boxed since a map's node has room for eleven; left out: empty
//!         /// Words.
//!         tags: list String, "none";             // left out: empty
//!     }
//! }
//! ```
//!
//! Each part gets `fill` (writes the defaults in), `prune` (takes them out again), `canonical` (the form that is compared: every managed field is
//! there, null where there is none), `met_by` (whether two such forms differ, without writing them) and, for each `value` field, a method of its name that gives the value in force.

/// See the module.
macro_rules! fields {
    ($($(#[$meta:meta])* $Name:ident { $($body:tt)* })+) => { $(
        $crate::kinds::fields::fields!(@munch [$(#[$meta])*] $Name [] [] [] [] $($body)*);
    )+ };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]) => {
        $($meta)*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $Name { $($field)* }

        impl $Name {
            $($get)*

            /// Writes every documented default into the fields that were left out.
            pub fn fill(&mut self) {
                let part = self;
                let _ = &part;
                $crate::kinds::fields::fields!(@fill part $($fill)*);
            }

            /// Takes out every field that says no more than its documented default.
            pub fn prune(&mut self) {
                let part = self;
                let _ = &part;
                $crate::kinds::fields::fields!(@prune part $($fill)*);
            }

            /// The form that is compared.
            pub fn canonical(&self) -> serde_json::Value {
                let part = self;
                let mut map = serde_json::Map::with_capacity(16);
                $crate::kinds::fields::fields!(@canonical part map $($canonical)*);
                serde_json::Value::Object(map)
            }

            /// Whether comparing the canonical forms would find no change; `applied` is what was wanted last.
            pub fn met_by(&self, have: &Self, applied: Option<&Self>) -> bool {
                let want = self;
                let _ = (&want, &have, &applied);
                $($crate::kinds::fields::fields!(@met want have applied $canonical);)*
                true
            }
        }
    };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]
        $(#[$m:meta])* $name:ident: value $t:ty, $cost:literal, $default:expr; $($rest:tt)*) => {
        $crate::kinds::fields::fields!(@munch [$($meta)*] $Name
            [$($field)* $(#[$m])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(extend("x-reeve-change" = $cost, "default" = $default))]
                pub $name: Option<$t>,]
            [$($fill)* ($name value $default)] [$($canonical)* ($name value $default)]
            [$($get)* #[doc = concat!("`", stringify!($name), "`, or its default.")] pub fn $name(&self) -> $t { self.$name.clone().unwrap_or_else(|| $default) }]
            $($rest)*);
    };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]
        $(#[$m:meta])* $name:ident: maybe $t:ty, $cost:literal; $($rest:tt)*) => {
        $crate::kinds::fields::fields!(@munch [$($meta)*] $Name
            [$($field)* $(#[$m])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(extend("x-reeve-change" = $cost))]
                pub $name: Option<$t>,]
            [$($fill)*] [$($canonical)* ($name maybe)] [$($get)*] $($rest)*);
    };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]
        $(#[$m:meta])* $name:ident: unmanaged $t:ty, $cost:literal; $($rest:tt)*) => {
        $crate::kinds::fields::fields!(@munch [$($meta)*] $Name
            [$($field)* $(#[$m])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(extend("x-reeve-change" = $cost))]
                pub $name: Option<$t>,]
            [$($fill)*] [$($canonical)* ($name unmanaged)] [$($get)*] $($rest)*);
    };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]
        $(#[$m:meta])* $name:ident: section $t:ty, $cost:literal; $($rest:tt)*) => {
        $crate::kinds::fields::fields!(@munch [$($meta)*] $Name
            [$($field)* $(#[$m])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(extend("x-reeve-change" = $cost))]
                pub $name: Option<$t>,]
            [$($fill)* ($name section)] [$($canonical)* ($name section)]
            [$($get)* #[doc = concat!("`", stringify!($name), "`, or its default.")] pub fn $name(&self) -> $t { self.$name.clone().unwrap_or_default() }] $($rest)*);
    };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]
        $(#[$m:meta])* $name:ident: device $t:ty, $cost:literal; $($rest:tt)*) => {
        $crate::kinds::fields::fields!(@munch [$($meta)*] $Name
            [$($field)* $(#[$m])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                #[schemars(extend("x-reeve-change" = $cost))]
                pub $name: Option<$t>,]
            [$($fill)* ($name device)] [$($canonical)* ($name device)] [$($get)*] $($rest)*);
    };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]
        $(#[$m:meta])* $name:ident: map $t:ty, $cost:literal; $($rest:tt)*) => {
        $crate::kinds::fields::fields!(@munch [$($meta)*] $Name
            [$($field)* $(#[$m])*
                #[serde(default, deserialize_with = "crate::kinds::fields::nullable",
                    skip_serializing_if = "std::collections::BTreeMap::is_empty")]
                #[schemars(extend("x-reeve-change" = $cost, "type" = ["object", "null"]))]
                pub $name: std::collections::BTreeMap<$crate::base::Name, Box<$t>>,]
            [$($fill)* ($name map)] [$($canonical)* ($name map)] [$($get)*] $($rest)*);
    };
    (@munch [$($meta:tt)*] $Name:ident [$($field:tt)*] [$($fill:tt)*] [$($canonical:tt)*] [$($get:tt)*]
        $(#[$m:meta])* $name:ident: list $t:ty, $cost:literal; $($rest:tt)*) => {
        $crate::kinds::fields::fields!(@munch [$($meta)*] $Name
            [$($field)* $(#[$m])*
                #[serde(default, deserialize_with = "crate::kinds::fields::nullable",
                    skip_serializing_if = "Vec::is_empty")]
                #[schemars(extend("x-reeve-change" = $cost, "type" = ["array", "null"]))]
                pub $name: Vec<$t>,]
            [$($fill)*] [$($canonical)* ($name list)] [$($get)*] $($rest)*);
    };

    (@fill $part:ident) => {};
    (@fill $part:ident ($name:ident value $default:expr) $($rest:tt)*) => {
        $part.$name.get_or_insert_with(|| $default);
        $crate::kinds::fields::fields!(@fill $part $($rest)*);
    };
    (@fill $part:ident ($name:ident section) $($rest:tt)*) => {
        $part.$name.get_or_insert_default().fill();
        $crate::kinds::fields::fields!(@fill $part $($rest)*);
    };
    (@fill $part:ident ($name:ident device) $($rest:tt)*) => {
        if let Some(device) = &mut $part.$name { device.fill(); }
        $crate::kinds::fields::fields!(@fill $part $($rest)*);
    };
    (@fill $part:ident ($name:ident map) $($rest:tt)*) => {
        for entry in $part.$name.values_mut() { entry.fill(); }
        $crate::kinds::fields::fields!(@fill $part $($rest)*);
    };

    (@prune $part:ident) => {};
    (@prune $part:ident ($name:ident value $default:expr) $($rest:tt)*) => {
        $part.$name = $part.$name.take().filter(|value| *value != $default);
        $crate::kinds::fields::fields!(@prune $part $($rest)*);
    };
    (@prune $part:ident ($name:ident section) $($rest:tt)*) => {
        if let Some(section) = &mut $part.$name { section.prune(); }
        $part.$name = $part.$name.take().filter(|section| *section != Default::default());
        $crate::kinds::fields::fields!(@prune $part $($rest)*);
    };
    (@prune $part:ident ($name:ident device) $($rest:tt)*) => {
        if let Some(device) = &mut $part.$name { device.prune(); }
        $crate::kinds::fields::fields!(@prune $part $($rest)*);
    };
    (@prune $part:ident ($name:ident map) $($rest:tt)*) => {
        for entry in $part.$name.values_mut() { entry.prune(); }
        $crate::kinds::fields::fields!(@prune $part $($rest)*);
    };

    (@met $want:ident $have:ident $applied:ident ($name:ident value $default:expr)) => {
        if $want.$name != $have.$name && $want.$name() != $have.$name() { return false; }
    };
    (@met $want:ident $have:ident $applied:ident ($name:ident unmanaged)) => {
        let met = match &$want.$name {
            None => $have.$name.is_none() || $applied.is_none_or(|a| a.$name.is_none()),
            wanted => *wanted == $have.$name,
        };
        if !met { return false; }
    };
    (@met $want:ident $have:ident $applied:ident ($name:ident section)) => {
        let default = Default::default();
        let (wanted, had) = ($want.$name.as_ref().unwrap_or(&default), $have.$name.as_ref().unwrap_or(&default));
        if !wanted.met_by(had, $applied.and_then(|a| a.$name.as_ref())) { return false; }
    };
    (@met $want:ident $have:ident $applied:ident ($name:ident device)) => {
        let met = match (&$want.$name, &$have.$name) {
            (Some(wanted), Some(had)) => wanted.met_by(had, $applied.and_then(|a| a.$name.as_ref())),
            (wanted, had) => wanted.is_none() && had.is_none(),
        };
        if !met { return false; }
    };
    (@met $want:ident $have:ident $applied:ident ($name:ident map)) => {
        let met = $want.$name.len() == $have.$name.len() && $want.$name.iter().zip(&$have.$name).all(|(wanted, had)| {
            wanted.0 == had.0 && wanted.1.met_by(had.1, $applied.and_then(|a| a.$name.get(wanted.0)).map(|a| &**a))
        });
        if !met { return false; }
    };
    // `maybe` and `list`.
    (@met $want:ident $have:ident $applied:ident ($name:ident $form:ident)) => {
        if $want.$name != $have.$name { return false; }
    };

    (@canonical $part:ident $map:ident) => {};
    (@canonical $part:ident $map:ident ($name:ident value $default:expr) $($rest:tt)*) => {
        $crate::kinds::fields::put(&mut $map, stringify!($name), &$part.$name());
        $crate::kinds::fields::fields!(@canonical $part $map $($rest)*);
    };
    (@canonical $part:ident $map:ident ($name:ident maybe) $($rest:tt)*) => {
        $crate::kinds::fields::put(&mut $map, stringify!($name), &$part.$name);
        $crate::kinds::fields::fields!(@canonical $part $map $($rest)*);
    };
    (@canonical $part:ident $map:ident ($name:ident unmanaged) $($rest:tt)*) => {
        if let Some(value) = &$part.$name { $crate::kinds::fields::put(&mut $map, stringify!($name), value); }
        $crate::kinds::fields::fields!(@canonical $part $map $($rest)*);
    };
    (@canonical $part:ident $map:ident ($name:ident section) $($rest:tt)*) => {
        $crate::kinds::fields::put_value(&mut $map, stringify!($name), $part.$name().canonical());
        $crate::kinds::fields::fields!(@canonical $part $map $($rest)*);
    };
    (@canonical $part:ident $map:ident ($name:ident device) $($rest:tt)*) => {
        $crate::kinds::fields::put_value(&mut $map, stringify!($name), $part.$name.as_ref().map_or(serde_json::Value::Null, |d| d.canonical()));
        $crate::kinds::fields::fields!(@canonical $part $map $($rest)*);
    };
    (@canonical $part:ident $map:ident ($name:ident map) $($rest:tt)*) => {
        let entries = $part.$name.iter().map(|(name, entry)| (name.to_string(), entry.canonical())).collect();
        $crate::kinds::fields::put_value(&mut $map, stringify!($name), serde_json::Value::Object(entries));
        $crate::kinds::fields::fields!(@canonical $part $map $($rest)*);
    };
    (@canonical $part:ident $map:ident ($name:ident list) $($rest:tt)*) => {
        $crate::kinds::fields::put(&mut $map, stringify!($name), &$part.$name);
        $crate::kinds::fields::fields!(@canonical $part $map $($rest)*);
    };
}

pub(crate) use fields;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Reads null as the empty value.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Puts a field under its name in manifests.
pub(crate) fn put(map: &mut Map<String, Value>, field: &str, value: &impl Serialize) {
    put_value(map, field, serde_json::to_value(value).unwrap_or_default());
}

/// The same for what is in canonical form already; it is not copied.
pub(crate) fn put_value(map: &mut Map<String, Value>, field: &str, value: Value) {
    map.insert(camel(field), value);
}

/// `max_cores` as manifests write it, `maxCores`.
fn camel(field: &str) -> String {
    let field = field.strip_prefix("r#").unwrap_or(field);
    if !field.as_bytes().contains(&b'_') {
        return field.to_owned();
    }
    let mut words = field.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}
