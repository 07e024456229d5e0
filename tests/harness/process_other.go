// Copyright (c) The oauthcc authors
// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package harness

import (
	"errors"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func childrenRunning(int, string) ([]int, error) {
	return nil, errors.New("finding the plugin's processes needs Linux's /proc")
}
