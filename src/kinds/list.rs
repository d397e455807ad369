//! The macro behind the list of kinds.

/// Makes the enums over all kinds and the calls that reach each kind's own code.
macro_rules! kinds {
    ($($Kind:ident $short:literal $module:ident :: $Type:ident [$($alias:literal),*];)+) => {
        /// The name of a kind.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum KindName { $(#[doc = concat!("`", stringify!($Kind), "`")] $Kind),+ }

        impl KindName {
            /// Every kind, in the order of the list.
            pub const ALL: &'static [KindName] = &[$(KindName::$Kind),+];

            /// The name in manifests, `VirtualMachine`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$Kind => stringify!($Kind)),+ }
            }

            /// The short name on the command line, `vm`.
            pub fn short(self) -> &'static str {
                match self { $(Self::$Kind => $short),+ }
            }

            /// Other names on the command line.
            pub fn aliases(self) -> &'static [&'static str] {
                match self { $(Self::$Kind => &[$($alias),*]),+ }
            }

            /// The kind's schema, compiled once.
            pub fn shape(self) -> &'static $crate::kinds::Shape {
                match self { $(Self::$Kind => {
                    static SHAPE: std::sync::LazyLock<$crate::kinds::Shape> = std::sync::LazyLock::new(
                        || $crate::kinds::Shape::of::<<$module::$Type as $crate::kinds::Kind>::Spec>());
                    &SHAPE
                }),+ }
            }

            /// The kind's JSON Schema, of the spec alone.
            pub fn schema(self) -> serde_json::Value {
                match self { $(Self::$Kind => schemars::SchemaGenerator::default()
                    .into_root_schema_for::<<$module::$Type as $crate::kinds::Kind>::Spec>().to_value()),+ }
            }

            /// Reads a spec of this kind.
            pub fn spec(self, value: serde_json::Value) -> Result<Spec, serde_path_to_error::Error<serde_json::Error>> {
                match self { $(Self::$Kind => serde_path_to_error::deserialize(value)
                    .map(|s| Spec::$Kind(std::sync::Arc::new(s)))),+ }
            }

            /// See [`Kind::columns`].
            pub fn columns(self, live: Option<&Live>) -> Vec<(&'static str, String, bool)> {
                match self { $(Self::$Kind => {
                    #[allow(irrefutable_let_patterns)]
                    let live = if let Some(Live::$Kind(l)) = live { Some(&**l) } else { None };
                    <$module::$Type as $crate::kinds::Kind>::columns(live)
                }),+ }
            }

            /// See [`Kind::undo`].
            pub async fn undo(
                self,
                task: &$crate::kinds::Task<'_>,
                spec: Option<&Spec>,
                effect: &str,
                detail: &serde_json::Value,
            ) -> Result<(), $crate::base::Fault> {
                match self { $(Self::$Kind => {
                    #[allow(irrefutable_let_patterns)]
                    let spec = if let Some(Spec::$Kind(s)) = spec { Some(&**s) } else { None };
                    <$module::$Type as $crate::kinds::Kind>::undo(task, spec, effect, detail).await
                }),+ }
            }

            /// See [`Kind::observe_one`].
            pub async fn observe_one(
                self,
                world: &$crate::kinds::World,
                scope: &$crate::kinds::Scope<'_>,
                name: &$crate::base::Name,
            ) -> Option<Result<$crate::kinds::Observed<Live>, $crate::base::Fault>> {
                use $crate::kinds::Observed as O;
                match self { $(Self::$Kind => {
                    let seen = <$module::$Type as $crate::kinds::Kind>::observe_one(world, scope, name).await?;
                    Some(seen.map(|seen| match seen {
                        O::Present(live) => O::Present(Live::$Kind(Box::new(live))),
                        O::Absent => O::Absent,
                        O::Unknown(why) => O::Unknown(why),
                    }))
                }),+ }
            }

            /// Everything of this kind that exists on this node.
            pub async fn observe(
                self,
                world: &$crate::kinds::World,
                scope: &$crate::kinds::Scope<'_>,
            ) -> Result<std::collections::BTreeMap<$crate::base::Name, $crate::kinds::Observed<Live>>, $crate::base::Fault> {
                use $crate::kinds::Observed as O;
                match self { $(Self::$Kind => {
                    let found = <$module::$Type as $crate::kinds::Kind>::observe(world, scope).await?;
                    Ok(found.into_iter().map(|(name, seen)| (name, match seen {
                        O::Present(live) => O::Present(Live::$Kind(Box::new(live))),
                        O::Absent => O::Absent,
                        O::Unknown(why) => O::Unknown(why),
                    })).collect())
                }),+ }
            }
        }

        /// What a manifest of some kind says.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Spec { $(#[doc = concat!("of `", stringify!($Kind), "`")]
            $Kind(std::sync::Arc<<$module::$Type as $crate::kinds::Kind>::Spec>)),+ }

        /// What is observed of a resource of some kind.
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "kind", content = "status")]
        pub enum Live { $(#[doc = concat!("of `", stringify!($Kind), "`")]
            $Kind(Box<<$module::$Type as $crate::kinds::Kind>::Live>)),+ }

        impl Spec {
            /// The kind.
            pub fn kind(&self) -> KindName {
                match self { $(Self::$Kind(_) => KindName::$Kind),+ }
            }

            /// The spec as the user wrote it, in canonical text forms, fields left out left out.
            pub fn to_value(&self) -> serde_json::Value {
                match self { $(Self::$Kind(s) => serde_json::to_value(&**s).unwrap_or_default()),+ }
            }

            /// See [`Kind::check`].
            pub fn check(&self, name: &$crate::base::Name, scope: &$crate::kinds::Scope<'_>, report: &mut $crate::kinds::Report<'_>) {
                match self { $(Self::$Kind(s) => <$module::$Type as $crate::kinds::Kind>::check(name, s, scope, report)),+ }
            }

            /// See [`Kind::references`].
            pub fn references(&self) -> Vec<$crate::kinds::Reference> {
                match self { $(Self::$Kind(s) => <$module::$Type as $crate::kinds::Kind>::references(s)),+ }
            }

            /// See [`Kind::claims`].
            pub fn claims(&self, name: &$crate::base::Name) -> Vec<$crate::kinds::Claim> {
                match self { $(Self::$Kind(s) => <$module::$Type as $crate::kinds::Kind>::claims(name, s)),+ }
            }

            /// See [`Kind::want`].
            pub fn want(&self, name: &$crate::base::Name, scope: &$crate::kinds::Scope<'_>) -> serde_json::Value {
                match self { $(Self::$Kind(s) => <$module::$Type as $crate::kinds::Kind>::want(name, s, scope)),+ }
            }

            /// See [`Kind::as_wanted`]; nothing when the kinds differ.
            pub fn as_wanted(&self, name: &$crate::base::Name, live: &Live, node: &$crate::base::Name) -> Option<$crate::base::Uid> {
                match (self, live) {
                    $((Self::$Kind(s), Live::$Kind(l)) => <$module::$Type as $crate::kinds::Kind>::as_wanted(name, s, l, node),)+
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }

            /// See [`Kind::extra`]; nothing when the kinds differ.
            pub fn extra(&self, live: &Live, scope: &$crate::kinds::Scope<'_>) -> Vec<$crate::plan::model::FieldChange> {
                match (self, live) {
                    $((Self::$Kind(s), Live::$Kind(l)) => <$module::$Type as $crate::kinds::Kind>::extra(s, l, scope),)+
                    #[allow(unreachable_patterns)]
                    _ => Vec::new(),
                }
            }

            /// See [`Kind::create`].
            pub async fn create(&self, task: &$crate::kinds::Task<'_>) -> Result<(), $crate::base::Fault> {
                match self { $(Self::$Kind(s) => <$module::$Type as $crate::kinds::Kind>::create(task, s).await),+ }
            }

            /// See [`Kind::update`].
            pub async fn update(
                &self,
                task: &$crate::kinds::Task<'_>,
                live: &Live,
                changes: &[$crate::plan::model::FieldChange],
            ) -> Result<(), $crate::base::Fault> {
                match (self, live) {
                    $((Self::$Kind(s), Live::$Kind(l)) => <$module::$Type as $crate::kinds::Kind>::update(task, s, l, changes).await,)+
                    #[allow(unreachable_patterns)]
                    _ => Err($crate::base::Fault::other("what is observed is of another kind")),
                }
            }

            /// See [`Kind::adopt`].
            pub async fn adopt(&self, task: &$crate::kinds::Task<'_>, live: &Live) -> Result<(), $crate::base::Fault> {
                match (self, live) {
                    $((Self::$Kind(s), Live::$Kind(l)) => <$module::$Type as $crate::kinds::Kind>::adopt(task, s, l).await,)+
                    #[allow(unreachable_patterns)]
                    _ => Err($crate::base::Fault::other("what is observed is of another kind")),
                }
            }
        }

        impl Live {
            /// The kind.
            pub fn kind(&self) -> KindName {
                match self { $(Self::$Kind(_) => KindName::$Kind),+ }
            }

            /// See [`Kind::have`].
            pub fn have(&self) -> $crate::kinds::Have {
                match self { $(Self::$Kind(l) => <$module::$Type as $crate::kinds::Kind>::have(l)),+ }
            }

            /// See [`Kind::cost`].
            pub fn cost(&self, change: &$crate::plan::model::FieldChange) -> $crate::base::Disruption {
                match self { $(Self::$Kind(l) => <$module::$Type as $crate::kinds::Kind>::cost(change, l)),+ }
            }

            /// See [`Kind::refuse`].
            pub fn refuse(&self, changes: &[$crate::plan::model::FieldChange]) -> Option<$crate::base::Fault> {
                match self { $(Self::$Kind(l) => <$module::$Type as $crate::kinds::Kind>::refuse(changes, l)),+ }
            }

            /// See [`Kind::power`].
            pub async fn power(&self, task: &$crate::kinds::Task<'_>, to: $crate::kinds::PowerRequest) -> Result<(), $crate::base::Fault> {
                match self { $(Self::$Kind(l) => <$module::$Type as $crate::kinds::Kind>::power(task, l, to).await),+ }
            }

            /// See [`Kind::console`].
            pub async fn console(
                &self,
                world: &$crate::kinds::World,
                name: &$crate::base::Name,
            ) -> Result<$crate::kinds::Console, $crate::base::Fault> {
                match self { $(Self::$Kind(l) => <$module::$Type as $crate::kinds::Kind>::console(world, name, l).await),+ }
            }

            /// See [`Kind::spec_of`].
            pub fn spec(&self) -> Option<Spec> {
                match self { $(Self::$Kind(l) => <$module::$Type as $crate::kinds::Kind>::spec_of(l)
                    .map(|s| Spec::$Kind(std::sync::Arc::new(s)))),+ }
            }

            /// See [`Kind::delete`].
            pub async fn delete(&self, task: &$crate::kinds::Task<'_>) -> Result<(), $crate::base::Fault> {
                match self { $(Self::$Kind(l) => <$module::$Type as $crate::kinds::Kind>::delete(task, l).await),+ }
            }
        }

        $(impl AsKind<$module::$Type> for Spec {
            fn as_kind(&self) -> Option<&std::sync::Arc<<$module::$Type as $crate::kinds::Kind>::Spec>> {
                #[allow(irrefutable_let_patterns)]
                if let Self::$Kind(spec) = self { Some(spec) } else { None }
            }
        })+
    };
}

pub(super) use kinds;
