//! What cloud-init in the guest is told.

use crate::base::secret::SecretField;
use crate::kinds::fields::fields;

fields! {
    /// What cloud-init in the guest is told: a part it reads once, and a part that is kept up to date.
    CloudInit {
        /// Read at the guest's first boot; later changes are noted, and reach no guest that is there.
        first_boot: section FirstBoot, "none";
        /// Kept up to date on the seed drive; the guest reads it at its next boot.
        reconcile: section Reconciled, "live";
        /// Any text; another text makes cloud-init run its first-boot part again at the guest's next boot.
        #[schemars(length(max = 64))]
        instance: maybe String, "live";
    }
    /// What is done at a guest's first boot.
    FirstBoot {
        /// The user to make, who may become root.
        #[schemars(regex(pattern = r"^[a-z_][-a-z0-9_]{0,31}$"))]
        #[schemars(extend("x-reeve-rule" = "1 to 32 lower-case letters, digits, - and _, starting with a letter or _"))]
        user: maybe String, "none";
        /// The public keys the user logs in with.
        ssh_keys: list String, "none";
        /// The user's password; none when left out.
        password: maybe SecretField, "none";
        /// Packages to install.
        packages: list String, "none";
        /// Commands to run, each by a shell of the guest.
        run_cmd: list String, "none";
        /// The whole user-data, instead of the fields above.
        user_data: maybe String, "none";
        /// More lines for meta-data, as `key: value`.
        meta_data: maybe String, "none";
    }
    /// What is kept up to date on the seed drive.
    Reconciled {
        /// The guest's host name; the guest's name when left out.
        #[schemars(regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?$"))]
        #[schemars(extend("x-reeve-rule" = "letters, digits, - and ., at most 253 characters"))]
        hostname: maybe String, "live";
        /// Each network card's addresses; cards that are not named use DHCP when none is named at all.
        network: map NicConfig, "live";
        /// Name servers.
        nameservers: list String, "live";
        /// Domains that short names are looked up in.
        search_domains: list String, "live";
    }
    /// The addresses of one network card.
    NicConfig {
        /// Addresses with their prefix length, `10.40.0.10/24`.
        addresses: list String, "live";
        /// Whether an IPv4 address is asked for.
        dhcp4: value bool, "live", false;
        /// Whether an IPv6 address is asked for.
        dhcp6: value bool, "live", false;
        /// The IPv4 gateway.
        gateway: maybe String, "live";
        /// The IPv6 gateway.
        gateway6: maybe String, "live";
        /// More routes.
        routes: list Route, "live";
    }
    /// A route.
    Route {
        /// Where to, `10.0.0.0/8` or `default`.
        to: value String, "live", "default".to_owned();
        /// The gateway.
        via: maybe String, "live";
        /// Its rank among others; lower is taken first.
        metric: maybe u32, "live";
    }
}
