# `make` lists what there is to make.

CARGO ?= cargo
CARGO_DIR = $(or $(CARGO_HOME),$(HOME)/.cargo)
# Where cargo builds, as far as the environment says.
BUILT = $(or $(CARGO_TARGET_DIR),target)
# What tests have not tested here.
SKIPPED = $(abspath $(BUILT))/skipped-tests
DEMO := target/demo
DEMO_V2 := target/demo-v2
DEMO_FLEET := target/demo-fleet
PACKAGE := target/package
# No path of this machine goes into it: the same commit and toolchain make the same program anywhere.
DIST := $(PACKAGE)/dist
STATIC := x86_64-unknown-linux-musl
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
MAINTAINER = $(shell sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
TREE = v6fleet-$(VERSION)-$(STATIC)
REPRODUCIBLY = --config "build.rustflags=['--remap-path-prefix=$(CARGO_DIR)=cargo']"
CARGO_CYCLONEDX := 0.5.9
CARGO_DEB := 3.8.0
CARGO_DENY := 0.20.2
CARGO_NEXTEST := 0.9.143

.PHONY: help demo demo-v2 demo-fleet test docs torture check fmt clippy deny advisories bench bench-pace bench-fleet tools install package \
	package-test package-tools dist clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1@/p' Makefile | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

# Some VMs of the demo fleet cannot succeed: the program ends with 3, and with anything else it is wrong.
demo: ## build, and run the job over the demo fleet against the embedded sandbox; state in target/demo
	$(CARGO) build --locked
	@status=0; ( set -x; $(CARGO) run --locked --quiet -- run inventories/demo.csv --sandbox \
		--ledger $(DEMO)/ledger.db --output-dir $(DEMO)/reports ) || status=$$?; \
	if [ $$status -ne 3 ]; then echo "make demo: exit code $$status, where 3 was expected" >&2; exit 1; fi

demo-v2: ## build, and list, plan, run and audit VMs of the API's v2 against a sandbox; state in target/demo-v2
	$(CARGO) build --locked
	sh inventories/demo-v2.sh $(BUILT)/debug/v6fleet $(DEMO_V2)

demo-fleet: ## build, and let three workers share a run, of which one is killed and one hangs (PostgreSQL, curl); state in target/demo-fleet
	$(CARGO) build --locked
	sh inventories/demo-fleet.sh $(BUILT)/debug/v6fleet $(DEMO_FLEET)

test: ## run the whole test suite: with cargo-nextest where it is installed, else with cargo test
	@rm -f $(SKIPPED); export SKIPPED_TESTS=$(SKIPPED); status=0; \
	if $(CARGO) nextest --version >/dev/null 2>&1; then ( set -x; $(CARGO) nextest run --locked ) || status=$$?; \
	else ( set -x; $(CARGO) test --locked ) || status=$$?; fi; \
	if [ -e $(SKIPPED) ]; then echo "Skipped, nothing was tested (how often, and why):"; sort $(SKIPPED) | uniq -c; fi; \
	exit $$status

docs: ## bring the options and the examples in the documents up to date with what the program says
	UPDATE_DOCS=1 $(CARGO) test --locked --test documents -- the_programs_own_help what_the_program_says

torture: ## run the long loops under faults, kills and signals with all their counts (minutes)
	V6FLEET_TORTURE=full $(CARGO) test --locked --test torture -- --nocapture

check: fmt clippy deny ## check the form of the code (fmt), its lints (clippy) and its dependencies (deny)

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is not installed: make tools" >&2; exit 1; }
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

advisories: ## look the dependencies up in the RustSec database, which has to be fetched
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is not installed: make tools" >&2; exit 1; }
	@$(CARGO) deny fetch db || \
		{ echo "advisories: the database cannot be fetched from here, so nothing was looked up" >&2; exit 1; }
	$(CARGO) deny --locked check --disable-fetch advisories

bench: ## measure speed and memory against what this machine can do (a quarter of an hour; wrk, h2load, curl, jq and sqlite3 where installed)
	$(CARGO) bench --locked --bench fleet

bench-pace: ## measure what rate limits cost, hidden, remembered, announced and changing (four minutes)
	$(CARGO) bench --locked --bench pace

bench-fleet: ## measure several workers and one PostgreSQL: rate, limit, takeover, speed and memory (a quarter of an hour)
	$(CARGO) bench --locked --bench workers

tools: ## install cargo-deny and cargo-nextest where they are missing (takes minutes)
	@$(CARGO) deny --version >/dev/null 2>&1 || { set -x; $(CARGO) install --locked cargo-deny@$(CARGO_DENY); }
	@$(CARGO) nextest --version >/dev/null 2>&1 || { set -x; $(CARGO) install --locked \
		cargo-nextest@$(CARGO_NEXTEST) --no-default-features --features default-no-update; }

install: ## build for use, and install v6fleet in cargo's bin directory
	$(CARGO) $(REPRODUCIBLY) install --locked --path .

package: ## build for use, and a Debian package of it in target/package (it needs cargo-deb)
	$(CARGO) $(REPRODUCIBLY) build --release --locked
	rm -f $(PACKAGE)/*.deb
	sh deploy/pages.sh $(BUILT)/release/v6fleet $(PACKAGE)
	@printf 'v6fleet (%s-1) unstable; urgency=medium\n\n  * What has changed is told in changelog.gz.\n\n -- %s  %s\n' \
		'$(VERSION)' '$(MAINTAINER)' "$$(date -Ru -d "@$$(git log -1 --format=%ct 2>/dev/null || date +%s)")" \
		> $(PACKAGE)/changelog
	@$(CARGO) deb --version >/dev/null 2>&1 || \
		{ echo "cargo-deb is not installed: make package-tools" >&2; exit 1; }
	$(CARGO) deb --no-build --locked --output $(PACKAGE)/

package-test: package ## install, upgrade, run and purge the package in a clean root (as root; it needs debootstrap)
	$(CARGO) deb --no-build --locked --fast --deb-version 999 --output $(PACKAGE)/next.deb
	sh tests/package.sh $(PACKAGE)/v6fleet_*.deb $(PACKAGE)/next.deb

dist: package ## the package, a static program in a tarball, an SBOM and checksums, in target/package/dist (it needs musl-gcc)
	@$(CARGO) cyclonedx --version >/dev/null 2>&1 || \
		{ echo "cargo-cyclonedx is not installed: make package-tools" >&2; exit 1; }
	$(CARGO) $(REPRODUCIBLY) build --release --locked --target $(STATIC)
	rm -rf $(DIST)
	mkdir -p $(DIST)/$(TREE)
	cp $(BUILT)/$(STATIC)/release/v6fleet $(DIST)/$(TREE)/
	cp -r README.md CHANGELOG.md LICENSE* docs inventories deploy $(PACKAGE)/man $(PACKAGE)/completions $(DIST)/$(TREE)/
	tar -C $(DIST) --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$$(git log -1 --format=%ct)" \
		-I 'gzip -9n' -cf $(DIST)/$(TREE).tar.gz $(TREE)
	rm -r $(DIST)/$(TREE)
	cp $(PACKAGE)/v6fleet_*.deb $(DIST)/
	$(CARGO) cyclonedx --format json --target $(STATIC) --override-filename v6fleet.cdx
	sed 's,$(CURDIR),/v6fleet,' v6fleet.cdx.json > $(DIST)/v6fleet.cdx.json
	rm -f v6fleet.cdx.json tests/support/v6fleet.cdx.json
	cd $(DIST) && sha256sum * > SHA256SUMS

package-tools: ## install cargo-deb and cargo-cyclonedx where they are missing (takes minutes)
	@$(CARGO) deb --version >/dev/null 2>&1 || { set -x; $(CARGO) install --locked cargo-deb@$(CARGO_DEB); }
	@$(CARGO) cyclonedx --version >/dev/null 2>&1 || { set -x; $(CARGO) install --locked \
		cargo-cyclonedx@$(CARGO_CYCLONEDX); }

clean: ## remove all that was built, and the demo's state
	$(CARGO) clean
