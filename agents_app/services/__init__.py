"""What happens to enrolment tokens, credentials and enrolling agents."""
