# What a person and CI do with this project. Everything that needs a real host is prepared by `setup` and `up`.
.DEFAULT_GOAL := help
.PHONY: help setup up down build test lint bench fuzz soak demo demo-clean fmt schemas clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

setup: ## Install what is needed, on Debian 12 as root; Rust itself is taken as given
	tests/lab/setup

up: setup ## Start libvirt where systemd does not
	tests/lab/up

down: ## Stop what `up` started
	tests/lab/down

build: setup ## Build the release
	cargo build --release --locked

test: up ## Run all tests, with real libvirt and LXC
	tests/lab/test

lint: setup ## Check format, lints, scripts and dependencies
	tests/lab/lint

bench: setup ## Measure all that is promised of speed, as root, with a libvirtd of its own
	cargo bench --locked --bench speed

fuzz: setup ## Fuzz the manifest reader for a minute, with any compiler
	tests/fuzz/run 60

soak: setup ## Have the agent work for an hour, or for MINUTES, and watch what it holds
	REEVE_SOAK_MINUTES=$(or $(MINUTES),60) cargo test --locked --test main -- --nocapture agent::soak

demo: up ## Apply samples/quickstart on this machine: a VM and a container that run
	tests/lab/demo

demo-clean: up ## Remove what `demo` made
	tests/lab/demo-clean

fmt: ## Format the code
	cargo fmt

schemas: setup ## Write the JSON Schemas anew
	cargo run --quiet --locked -- schema --dir schemas

clean: ## Remove what was built
	cargo clean
