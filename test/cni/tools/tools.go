//go:build tools

// Package tools pins the programs that the tests run.
package tools

import (
	_ "github.com/containernetworking/cni/cnitool"
	_ "github.com/containernetworking/plugins/pkg/ip"
)
