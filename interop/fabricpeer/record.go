package main

func record(o *options) {}
