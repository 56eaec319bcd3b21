"""Tests of users, roles and policies."""
