"""What a trained adapter answers: sampled answers, the stance judge, Wilson intervals."""
